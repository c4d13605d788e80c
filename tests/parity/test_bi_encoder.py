"""The network and its losses against references written step by step, with the same weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

from lightning_modules.losses import level_terms, published_token_labels, rationale_terms
from lightning_modules.networks.bi_encoder import BiEncoder, NetworkSpec
from lightning_modules.networks.decisions import Decoding, decide

MECHANISMS = ("emotional_reactions", "explorations")


def encoder() -> RobertaModel:
    config = RobertaConfig(
        vocab_size=40, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        max_position_embeddings=40, pad_token_id=1,
    )  # fmt: skip
    return RobertaModel(config, add_pooling_layer=False)


def network(seeker_encoder: str = "frozen", masked: bool = True, pooling: str = "first") -> BiEncoder:
    torch.manual_seed(3)
    response, seeker = encoder(), encoder()
    spec = NetworkSpec(MECHANISMS, seeker_encoder, pooling, 0.1, masked, response.config.to_dict())
    return BiEncoder(spec, response, seeker, init_seed=7)


def texts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    response = torch.randint(3, 40, (3, 9), generator=generator)
    seeker = torch.randint(3, 40, (3, 7), generator=generator)
    response_mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    seeker_mask = torch.arange(7) < torch.tensor([[3], [7], [5]])
    return response.masked_fill(~response_mask, 1), response_mask, seeker.masked_fill(~seeker_mask, 1), seeker_mask


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    return values @ layer.weight.T + layer.bias


def reference(net: BiEncoder, row: int, masked: bool, pooling: str) -> tuple[Tensor, Tensor]:
    """One row at a time, its padding cut off (but for the seeker's where the published code sees it)."""
    response, response_mask, seeker, seeker_mask = (part[row : row + 1] for part in texts())
    length = int(response_mask.sum())
    states = net.response(response[:, :length]).last_hidden_state[0]  # [R, D]
    if net.attention is not None:
        reader = net.seeker if net.seeker is not None else net.response
        if masked:
            post = reader(seeker[:, : int(seeker_mask.sum())]).last_hidden_state[0]  # [S, D]
        else:
            post = reader(seeker, attention_mask=seeker_mask.long()).last_hidden_state[0]
        scores = linear(net.attention.query, states) @ linear(net.attention.key, post).T / math.sqrt(12)
        weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        states = states + linear(net.attention.out, weights @ linear(net.attention.value, post))
    pooled = states[0] if pooling == "first" else states.mean(dim=0)
    levels = [linear(head.out, linear(head.dense, pooled).clamp(min=0)) for head in net.level_heads]
    return torch.stack(levels), torch.stack([linear(head.out, states) for head in net.rationale_heads])


@pytest.mark.parametrize("seeker_encoder", ["frozen", "trained", "shared", "none"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_forward_equals_the_reference(seeker_encoder: str, masked: bool, pooling: str) -> None:
    net = network(seeker_encoder, masked, pooling).eval()
    response, response_mask, seeker, seeker_mask = texts()
    states = net.encode_seeker(seeker, seeker_mask) if net.attention is not None else None
    output = net(response, response_mask, states, seeker_mask)
    for row in range(3):
        levels, rationales = reference(net, row, masked, pooling)
        length = int(response_mask[row].sum())
        torch.testing.assert_close(output.level_logits[row], levels, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(output.rationale_logits[row, :, :length], rationales, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_only_unmasked_attention_sees_the_padding(masked: bool) -> None:
    net = network(masked=masked).eval()
    response, response_mask, seeker, seeker_mask = texts()
    longer = torch.nn.functional.pad(seeker, (0, 6), value=1)
    longer_mask = torch.nn.functional.pad(seeker_mask, (0, 6))
    short = net(response, response_mask, net.encode_seeker(seeker, seeker_mask), seeker_mask).level_logits
    long = net(response, response_mask, net.encode_seeker(longer, longer_mask), longer_mask).level_logits
    assert torch.allclose(short, long, atol=1e-6) == masked


def test_what_learns() -> None:
    response, response_mask, seeker, seeker_mask = texts()
    for mode, seeker_learns in (("frozen", False), ("trained", True)):
        net = network(mode)
        output = net(response, response_mask, net.encode_seeker(seeker, seeker_mask), seeker_mask)
        (output.level_logits.sum() + output.rationale_logits.sum()).backward()
        assert any(p.grad is not None for p in net.seeker.parameters()) == seeker_learns
        assert all(p.grad is not None for p in net.response.parameters())


def test_heads_start_as_published_whatever_came_before() -> None:
    nets = []
    for noise in (1, 2):
        response = encoder()
        torch.manual_seed(noise)
        spec = NetworkSpec(MECHANISMS, "none", "first", 0.1, True, response.config.to_dict())
        nets.append(BiEncoder(spec, response, init_seed=7))
    one, other = (net.level_heads[0].dense.weight for net in nets)
    assert torch.equal(one, other)
    assert abs(float(network().attention.query.weight.detach().std()) - 0.02) < 0.004
    assert not network().attention.out.bias.any()


LEVELS = torch.tensor([[0, 2], [-1, 1], [1, -1], [0, 0]])
COUNTS = torch.tensor([[60.0, 30.0, 10.0], [80.0, 0.0, 20.0]])


@pytest.mark.parametrize("kind", ["plain", "class_weighted", "logit_adjusted"])
def test_level_loss_equals_a_loop(kind: str) -> None:
    logits = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    sums, weights = level_terms(logits, LEVELS, COUNTS, kind, adjustment=0.7)
    for m in range(2):
        counts = [max(1.0, float(count)) for count in COUNTS[m]]
        total, weight = 0.0, 0.0
        for row in range(4):
            gold = int(LEVELS[row, m])
            if gold < 0:
                continue
            scores = [float(value) for value in logits[row, m]]
            if kind == "logit_adjusted":
                scores = [s + 0.7 * math.log(n / sum(counts)) for s, n in zip(scores, counts, strict=True)]
            own = sum(counts) / (3 * counts[gold]) if kind == "class_weighted" else 1.0
            total += own * (math.log(sum(math.exp(s) for s in scores)) - scores[gold])
            weight += own
        assert float(sums[m]) == pytest.approx(total, rel=1e-5)
        assert float(weights[m]) == pytest.approx(weight, rel=1e-5)


def test_rationale_loss_equals_a_loop() -> None:
    logits = torch.randn(2, 2, 4, 2, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([[[-100, 1, 0, -100], [-100, -100, -100, -100]], [[-100, 0, 0, 1], [-100, 1, -100, -100]]])
    sums, weights = rationale_terms(logits, labels)
    assert weights.tolist() == [5, 1]
    for m in range(2):
        total = 0.0
        for row in range(2):
            for token in range(4):
                label = int(labels[row, m, token])
                if label >= 0:
                    no, yes = (float(value) for value in logits[row, m, token])
                    total += math.log(math.exp(no) + math.exp(yes)) - (no, yes)[label]
        assert float(sums[m]) == pytest.approx(total, rel=1e-5)


def test_published_targets_written_out() -> None:
    """Row 0 has a rationale for the first mechanism alone, row 1 isn't annotated for the second; padding at the end."""
    labels = torch.tensor([[[-100, 0, 1, -100, -100], [-100, -100, -100, -100, -100]], [[-100] * 5, [-100] * 5]])
    mask = torch.tensor([[True, True, True, True, False], [True, True, True, False, False]])
    found = published_token_labels(labels, torch.tensor([[2, 0], [1, -1]]), mask)
    assert found.tolist() == [
        [[0, 0, 1, 0, -100], [0, 1, 1, 1, -100]],
        [[0, 1, 1, -100, -100], [-100, -100, -100, -100, -100]],
    ]


def test_decisions_written_out() -> None:
    """Six tokens: special, two clauses of two, special; probabilities of being rationale as listed."""
    from lightning_modules.networks.bi_encoder import BiEncoderOutput

    probability = torch.tensor([0.9, 0.8, 0.2, 0.3, 0.1, 0.6])
    rationale = torch.stack([(1 - probability).log(), probability.log()], dim=-1)[None, None]
    output = BiEncoderOutput(torch.tensor([[[0.0, 0.0, 0.1]]]), rationale)
    clauses = torch.tensor([[-1, 0, 0, 1, 1, -1]])
    counts = torch.tensor([[10.0, 10.0, 80.0]])

    def tokens(**options: object) -> list[bool]:
        return decide(output, clauses, counts, Decoding(**options)).tokens[0, 0].tolist()

    # Clause 0 has a mean of .5, clause 1 of .2; special tokens stand for themselves.
    assert tokens(threshold=0.45) == [True, True, True, False, False, True]
    assert tokens(threshold=0.55, floor=2.0) == [True, False, False, False, False, True]
    assert tokens(threshold=0.55, floor=1.0) == [True, True, True, False, False, True]
    assert tokens(threshold=0.55, floor=0.4) == [True, True, True, True, True, True]
    assert tokens(unit="token", threshold=0.25, floor=2.0) == [True, True, False, True, False, True]
    assert decide(output, clauses, counts, Decoding()).levels.tolist() == [[2]]
    assert decide(output, clauses, counts, Decoding(level_adjustment=1.0)).levels.tolist() == [[0]]
