"""Parameter groups, optimisers and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from errors import UserError

__all__ = ["Optimisation", "build_optimiser", "linear_schedule"]


@dataclass
class Optimisation:
    """Optimiser and schedule.

    Args:
        optimiser: `adamw`; `adamw_fused`, one kernel a step on a GPU; `adamw_8bit`, bitsandbytes' with 8-bit state.
        lr: Peak learning rate of the encoder.
        head_lr: Peak learning rate of everything on top of it; null: as `lr`.
        weight_decay: Decoupled decay of matrices; biases and norms don't decay.
        epsilon: Added to the denominator of Adam's update.
        warmup: Share of all steps over which the rate rises linearly; it falls linearly to 0 over the rest.
    """

    optimiser: Literal["adamw", "adamw_fused", "adamw_8bit"] = "adamw"
    lr: float = 2e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    epsilon: float = 1e-8
    warmup: float = 0.06

    def __post_init__(self) -> None:
        """Checks the rates."""
        if not 0 <= self.warmup <= 1:
            raise UserError(f"--model.optimisation.warmup is {self.warmup}; it is a share of the steps from 0 to 1")
        for name in ("lr", "head_lr"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--model.optimisation.{name} is {value}; a learning rate is above 0")


def _groups(encoder: Iterable[tuple[str, nn.Parameter]], heads: Any, options: Optimisation) -> list[dict[str, Any]]:
    groups = []
    for named, lr in ((encoder, options.lr), (heads, options.head_lr or options.lr)):
        trained = [parameter for _, parameter in named if parameter.requires_grad]
        matrices = [parameter for parameter in trained if parameter.ndim > 1]
        rest = [parameter for parameter in trained if parameter.ndim <= 1]
        groups += [
            {"params": matrices, "lr": lr, "weight_decay": options.weight_decay},
            {"params": rest, "lr": lr, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def build_optimiser(
    encoder: Iterable[tuple[str, nn.Parameter]], heads: Iterable[tuple[str, nn.Parameter]], options: Optimisation
) -> Optimizer:
    """The optimiser over encoder and heads.

    Args:
        encoder: Named parameters that learn at `lr`.
        heads: Named parameters that learn at `head_lr`.
        options: See `Optimisation`.

    Returns:
        A torch or bitsandbytes optimiser; parameters without gradient are left out.

    Raises:
        UserError: 8-bit AdamW is asked for and bitsandbytes can't be loaded.
    """
    groups = _groups(encoder, heads, options)
    if options.optimiser == "adamw_8bit":
        try:
            from bitsandbytes.optim.adamw import AdamW8bit
        except (ImportError, RuntimeError, OSError) as error:
            raise UserError(
                f"--model.optimisation.optimiser adamw_8bit: bitsandbytes can't be loaded ({error})"
            ) from None
        return cast(Optimizer, AdamW8bit(groups, lr=options.lr, eps=options.epsilon))  # type: ignore[no-untyped-call]
    fused = True if options.optimiser == "adamw_fused" else None
    return torch.optim.AdamW(groups, lr=options.lr, eps=options.epsilon, fused=fused)


def linear_schedule(optimiser: Optimizer, total_steps: Callable[[], float], warmup: float) -> LambdaLR:
    """Linear warm-up and decay to 0.

    Args:
        optimiser: What it drives, a step at a time.
        total_steps: Asked at the second step and later, never now: asking Lightning for the number of steps while the
            optimiser is configured builds the loaders before a resume has restored them.
        warmup: Share of the steps.

    Returns:
        The schedule; it raises UserError at the second step where training has no end.
    """
    known: list[float] = []

    def factor(step: int) -> float:
        if step == 0 and not known:
            return 1.0 if warmup == 0 else 0.0
        if not known:
            known.append(float(total_steps()))
            if not 0 < known[0] < math.inf:
                raise UserError("the schedule falls to 0 at the end: set --trainer.max_epochs or --trainer.max_steps")
        total = known[0]
        rising = warmup * total
        if step < rising:
            return step / max(1.0, rising)
        return max(0.0, (total - step) / max(1.0, total - rising))

    return LambdaLR(optimiser, factor)
