"""Parameter groups, optimisers and the schedule."""

import io
import math
import sys

import pytest
import torch
from running import Ran
from torch import nn

from errors import UserError
from lightning_modules.empathy import EmpathyModule
from lightning_modules.optimisation import Optimisation, build_optimiser, linear_schedule


def rates(total: float, warmup: float, steps: int) -> list[float]:
    """The rate before each step, for a peak of 8."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    schedule = linear_schedule(optimiser, lambda: total, warmup)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_the_rate_rises_and_falls_in_straight_lines() -> None:
    assert rates(10, 0.2, 11) == [0, 4, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert rates(8, 0.0, 9) == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert rates(4, 1.0, 5) == [0, 2, 4, 6, 0]
    assert rates(2, 0.0, 4) == [8, 4, 0, 0]


def test_a_schedule_goes_on_where_its_state_says() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    schedule = linear_schedule(optimiser, lambda: 10, 0.2)
    for _ in range(5):
        optimiser.step()
        schedule.step()
    later = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    resumed = linear_schedule(later, lambda: 10, 0.2)
    later.load_state_dict(optimiser.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    found = []
    for _ in range(5):
        found.append(later.param_groups[0]["lr"])
        later.step()
        resumed.step()
    assert found == [5, 4, 3, 2, 1]


def test_the_number_of_steps_is_not_asked_for_while_the_optimiser_is_configured() -> None:
    """Lightning would build the loaders then, before a resume has put them in their place."""
    asked = []

    def total() -> float:
        asked.append(True)
        return 10

    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    schedule = linear_schedule(optimiser, total, 0.2)
    assert not asked
    optimiser.step()
    schedule.step()
    schedule.step()
    assert len(asked) == 1


@pytest.mark.parametrize("total", [math.inf, -1])
def test_training_without_an_end_has_no_schedule(total: float) -> None:
    with pytest.raises(UserError, match=r"set --trainer\.max_epochs or --trainer\.max_steps"):
        rates(total, 0.1, 2)


def test_a_whole_run_ends_at_rate_zero(trained: Ran) -> None:
    checkpoint = torch.load(trained.folder / "checkpoints" / "last.ckpt", weights_only=True)
    (optimiser,) = checkpoint["optimizer_states"]
    assert {group["initial_lr"] for group in optimiser["param_groups"]} == {1e-3}
    assert {group["lr"] for group in optimiser["param_groups"]} == {0.0}
    best = torch.load(trained.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert "optimizer_states" not in best


@pytest.mark.parametrize(("seeker_encoder", "learns"), [("frozen", False), ("trained", True), ("none", False)])
def test_encoders_and_heads_have_rates_of_their_own(encoder: str, seeker_encoder: str, learns: bool) -> None:
    options = Optimisation(lr=1e-4, head_lr=5e-4, weight_decay=0.1)
    module = EmpathyModule(encoder, seeker_encoder=seeker_encoder, optimisation=options)
    optimiser = module.configure_optimizers()["optimizer"]
    found = {
        id(parameter): (group["initial_lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    assert len(found) == sum(len(group["params"]) for group in optimiser.param_groups)
    expected = {}
    for name, parameter in module.network.named_parameters():
        if name.startswith("seeker.") and not learns:
            continue
        in_encoder = name.startswith(("response.", "seeker."))
        decays = not name.endswith("bias") and "LayerNorm" not in name
        expected[id(parameter)] = (1e-4 if in_encoder else 5e-4, 0.1 if decays else 0.0)
    assert found == expected


def test_without_a_rate_of_their_own_heads_learn_like_the_encoder() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    head = nn.Parameter(torch.ones(3, 2))
    optimiser = build_optimiser([("a", weight)], [("b", head)], Optimisation(lr=0.25))
    assert [(group["lr"], group["params"]) for group in optimiser.param_groups] == [(0.25, [weight]), (0.25, [head])]


def stepped(kind: str) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    """A matrix of 8192 elements after 20 steps towards a target."""
    generator = torch.Generator().manual_seed(4)
    target = torch.randn(64, 128, generator=generator)
    weight = nn.Parameter(torch.zeros(64, 128))
    optimiser = build_optimiser([("weight", weight)], [], Optimisation(optimiser=kind, lr=0.05, epsilon=1e-6))
    for _ in range(20):
        optimiser.zero_grad()
        (weight - target).square().mean().backward()
        optimiser.step()
    return weight.detach(), optimiser


def test_the_fused_optimiser_takes_the_same_steps() -> None:
    plain, optimiser = stepped("adamw")
    fused, other = stepped("adamw_fused")
    torch.testing.assert_close(fused, plain)
    assert other.param_groups[0]["fused"]
    assert optimiser.param_groups[0]["eps"] == 1e-6


def test_the_8_bit_optimiser_takes_nearly_the_same_steps_with_a_quarter_of_the_state() -> None:
    plain, _ = stepped("adamw")
    found, optimiser = stepped("adamw_8bit")
    assert float((found - plain).abs().mean()) < 0.02 < float(plain.abs().mean()) / 30
    (state,) = optimiser.state.values()
    assert (state["state1"].dtype, state["state2"].dtype) == (torch.uint8, torch.uint8)
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    other = build_optimiser([("weight", nn.Parameter(found.clone()))], [], Optimisation(optimiser="adamw_8bit"))
    other.load_state_dict(torch.load(file, weights_only=True))
    (restored,) = other.state.values()
    assert torch.equal(restored["state1"], state["state1"])
    assert torch.equal(restored["qmap1"], state["qmap1"])


def test_a_missing_bitsandbytes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(UserError, match=r"optimiser adamw_8bit: bitsandbytes can't be loaded"):
        stepped("adamw_8bit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 1.5}, "--model.optimisation.warmup is 1.5; it is a share of the steps from 0 to 1"),
        ({"lr": 0}, "--model.optimisation.lr is 0; a learning rate is above 0"),
        ({"head_lr": -1.0}, "--model.optimisation.head_lr is -1.0; a learning rate is above 0"),
        ({"lr": math.nan}, "--model.optimisation.lr is nan; a learning rate is above 0"),
    ],
)
def test_rates_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Optimisation(**options)
    assert str(caught.value) == message
