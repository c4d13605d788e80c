"""The responder's loss, packing, masks, tags and decoding against Hugging Face's own, on a tiny GPT-2."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from datamodules.contexts import ResponderFormat, TurnEncoder, take_window
from datamodules.dialogue_batches import ResponderCollator, pack
from lightning_modules.networks.causal_lm import add_tags, attention_mask, logits_at, token_losses
from lightning_modules.networks.decoding import Decoding, generate, uniform_of
from lightning_modules.networks.responder import (
    Lora,
    ResponderNetwork,
    ResponderSpec,
    SmallModel,
    build_small,
    train_tokenizer,
)

TEXTS = ["I feel low today.", "What happened?", "My cat is ill.", "I am sorry. Is it old?", "Yes, it is.", "Oh no."]
DESCRIPTION = train_tokenizer(TEXTS, 300)


def tiny(seed=0, labels=0):
    model = build_small(SmallModel(layers=2, width=16, heads=2, window=96, vocabulary=300), 300, seed).eval()
    tags = add_tags(model, [[5, 6], [7], [8, 9, 10]][:labels]) if labels else []
    return model, tags


def reader(tags=(), **window):
    fields = {"max_tokens": 64, "max_response_tokens": 12} | window
    return ResponderFormat(TurnEncoder(DESCRIPTION), 0, dict(zip(["A", "B", "C"], tags, strict=False)), **fields)


def rows(form, label=None):
    tokens = form.encoder.encode(TEXTS)
    return [form.row(tokens, turn, label) for turn in (0, 1, 3, 5)]


def losses(model, batch, tags=()):
    packed = (batch[key] for key in ("ids", "positions", "members", "labels"))
    return token_losses(model, *packed, torch.tensor(tags, dtype=torch.int64), len(batch["rows"]))


def collate(inputs, packed):
    return ResponderCollator(inputs, np.zeros(len(inputs), np.int64), 0, packed=packed)(list(range(len(inputs))))


def test_loss_is_hugging_faces():
    model, _ = tiny()
    inputs = rows(reader())
    found = losses(model, collate(inputs, packed=False))
    for row, values in enumerate(inputs):
        ids, labels = (torch.from_numpy(part.astype(np.int64))[None] for part in (values.ids, values.labels))
        expected = model(input_ids=ids, labels=labels).loss
        torch.testing.assert_close(found.response[row] / found.response_tokens[row], expected, rtol=1e-5, atol=1e-5)


def test_loss_of_a_padded_batch_is_hugging_faces():
    model, _ = tiny()
    inputs = rows(reader())
    batch = collate(inputs, packed=False)
    mask = (batch["members"] >= 0).long()
    expected = model(input_ids=batch["ids"], attention_mask=mask, labels=batch["labels"]).loss
    found = losses(model, batch)
    torch.testing.assert_close(found.response.sum() / found.response_tokens.sum(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_packed_loss_and_gradient_equal_unpacked(implementation):
    model, tags = tiny(labels=3)
    model.set_attn_implementation(implementation)
    inputs = rows(reader(tags), "B")
    packed = collate(inputs, packed=True)
    assert packed["ids"].shape[0] < len(inputs)
    outcomes = []
    for batch in (collate(inputs, packed=False), packed):
        found = losses(model, batch, tags)
        model.zero_grad()
        (found.response.sum() + found.tag.sum()).backward()
        outcomes.append((found, [parameter.grad.clone() for parameter in model.parameters()]))
    for one, other in zip(*(found for found, _ in outcomes), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    for one, other in zip(*(gradients for _, gradients in outcomes), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert outcomes[0][0].tag_tokens.tolist() == [1, 1, 1, 1]


def test_the_vocabulary_is_computed_where_it_is_wanted():
    model, _ = tiny()
    batch = collate(rows(reader()), packed=True)
    packed = [batch[key] for key in ("ids", "positions", "members")]
    lines, length = packed[0].shape
    everywhere = logits_at(model, *packed, torch.arange(lines * length))
    places = torch.tensor([length + 3, 2])
    torch.testing.assert_close(logits_at(model, *packed, places), everywhere[places])
    assert model(input_ids=packed[0]).logits.shape == (lines, length, 300)  # nothing of it stays


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_packing_loses_nothing(lengths):
    lines = pack(lengths, 20)
    assert sorted(row for line in lines for row in line) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in line) <= 20 for line in lines)
    assert len(lines) <= 2 * -(-sum(lengths) // 20)


def test_masks_written_out():
    members = torch.tensor([[0, 0, 1, 1, -1]])
    seen = attention_mask(members, torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_rows_written_out():
    """Turns of the tokens 11 12, 21, 31 32; end 0; tag 99."""
    turns = [np.array(turn, np.int32) for turn in ([11, 12], [21], [31, 32])]
    form = reader([99], max_tokens=21, max_response_tokens=12)
    first = form.row(turns, 0, "A")  # the supporter begins: an empty context is one end token
    assert first.ids.tolist() == [0, 99, 11, 12, 0]
    assert first.labels.tolist() == [-100, 99, 11, 12, 0]
    last = form.row(turns, 2, "A")
    assert last.ids.tolist() == [11, 12, 0, 21, 0, 99, 31, 32, 0]
    assert last.labels.tolist() == [-100, -100, -100, -100, -100, 99, 31, 32, 0]
    assert (last.dropped_turns, last.cut_tokens) == (0, 0)
    plain = form.row(turns, 1, None)
    assert plain.ids.tolist() == [11, 12, 0, 21, 0]
    assert plain.labels.tolist() == [-100, -100, -100, 21, 0]
    untagged = form.row(turns, 0, None)
    batch = collate([first, last, untagged], packed=True)
    assert batch["ids"].tolist() == [[11, 12, 0, 21, 0, 99, 31, 32, 0], [0, 99, 11, 12, 0, 0, 11, 12, 0]]
    assert batch["labels"].tolist() == [
        [-100, -100, -100, -100, -100, 99, 31, 32, 0],
        [-100, 99, 11, 12, 0, -100, 11, 12, 0],
    ]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 0, 1, 2, 3]]
    assert batch["members"].tolist() == [[1] * 9, [0] * 5 + [2] * 4]


def test_a_cut_response_learns_no_end():
    turns = [np.arange(20, dtype=np.int32) + 1]
    row = reader(max_tokens=21).row(turns, 0, None)
    assert row.ids.tolist() == [0, *range(1, 13), 0]
    assert row.labels.tolist() == [-100, *range(1, 13), -100]
    assert row.cut_tokens == 8


def test_windows_end_at_turn_borders():
    turns = [np.full(size, size, np.int32) for size in (3, 2, 4)]
    assert [turn.tolist() for turn in take_window(turns, 8).turns] == [[2, 2], [4, 4, 4, 4]]
    assert take_window(turns, 8).first == 1
    assert [turn.tolist() for turn in take_window(turns, 7).turns] == [[4, 4, 4, 4]]
    assert take_window(turns, 99, max_turns=1).first == 2
    assert take_window([], 8) == ([], 0, 0)
    long = take_window([turns[0], np.arange(9, dtype=np.int32)], 5)
    assert ([turn.tolist() for turn in long.turns], long.first, long.cut) == ([[5, 6, 7, 8]], 1, 5)


def test_tags_begin_as_their_words_and_nothing_else_changes():
    before, _ = tiny(seed=1)
    after, tags = tiny(seed=1, labels=3)
    old, new = before.transformer.wte.weight, after.transformer.wte.weight
    assert tags == [300, 301, 302]
    assert new.shape[0] == 303
    assert torch.equal(new[:300], old)
    torch.testing.assert_close(new[300], old[[5, 6]].mean(dim=0))
    torch.testing.assert_close(new[301], old[7])
    assert after.lm_head.weight is new  # still shared
    untied = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1, tie_word_embeddings=False))
    head = untied.lm_head.weight.clone()
    assert add_tags(untied, [[3, 4]]) == [20]
    torch.testing.assert_close(untied.lm_head.weight[20], head[[3, 4]].mean(dim=0))
    assert torch.equal(untied.lm_head.weight[:20], head)


def test_a_text_never_becomes_a_special_token():
    (ids,) = TurnEncoder(DESCRIPTION).encode(["<|endoftext|>"])
    assert 0 not in ids.tolist()
    assert TurnEncoder(DESCRIPTION).tokenizer.decode(ids.tolist()) == "<|endoftext|>"


PROMPTS = [np.array(ids, np.int32) for ids in ([4, 5, 6, 0], [7, 0], [8, 9, 10, 11, 12, 0], [13, 0], [14, 15, 0])]
KEYS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("options", [Decoding(), Decoding(sample=False), Decoding(top_k=5, repetition_penalty=1.3)])
def test_decoding_does_not_depend_on_the_batch(options):
    model, _ = tiny(seed=2)
    together = generate(model, PROMPTS, KEYS, options, end_id=0, max_new_tokens=12)
    alone = [
        generate(model, [prompt], [key], options, end_id=0, max_new_tokens=12)[0]
        for prompt, key in zip(PROMPTS, KEYS, strict=True)
    ]
    pairs = [
        *generate(model, PROMPTS[3:], KEYS[3:], options, end_id=0, max_new_tokens=12),
        *generate(model, PROMPTS[:3], KEYS[:3], options, end_id=0, max_new_tokens=12),
    ]
    assert together == alone == [*pairs[2:], *pairs[:2]]
    assert all(together)


def test_greedy_decoding_is_the_argmax_step_by_step():
    model, tags = tiny(seed=3, labels=2)
    (found,) = generate(model, PROMPTS[:1], ["a"], Decoding(sample=False), end_id=0, max_new_tokens=6, banned=tags)
    ids = PROMPTS[0].tolist()
    for step, token in enumerate(found):
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        logits[tags] = -torch.inf
        if step == 0:
            logits[0] = -torch.inf  # at least one token
        assert token == int(logits.argmax())
        ids.append(token)


def test_sampling_follows_the_probabilities():
    model, _ = tiny(seed=4)
    prompt = PROMPTS[1]
    logits = model(input_ids=torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1].detach()
    logits[0] = -torch.inf
    probabilities = (logits / 0.05).softmax(dim=0)
    count = 4000
    options = Decoding(temperature=0.05, top_p=1.0)
    found = generate(model, [prompt] * count, [str(key) for key in range(count)], options, end_id=0, max_new_tokens=1)
    seen = Counter(tokens[0] for tokens in found)
    for token in probabilities.topk(5).indices.tolist():
        share = float(probabilities[token])
        assert seen[token] / count == pytest.approx(share, abs=4.5 * (share * (1 - share) / count) ** 0.5 + 1e-9)
    assert generate(model, [prompt], ["7"], options, end_id=0, max_new_tokens=1) == [found[7]]


def test_uniform_numbers():
    numbers = [uniform_of(0, str(key)) for key in range(2000)]
    assert 0 <= min(numbers) < 0.01 < 0.99 < max(numbers) < 1
    assert uniform_of(0, "x") != uniform_of(1, "x")


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 100))
def test_tag_probabilities_are_the_models_own(seed):
    model, tags = tiny(seed=seed, labels=3)
    network = ResponderNetwork(ResponderSpec(["A", "B", "C"], "categories", tags, ""), model).eval()
    found = network.tag_probabilities(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        logits = model(input_ids=torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1, tags].double()
        torch.testing.assert_close(found[row], logits.softmax(dim=0).detach(), rtol=1e-4, atol=1e-6)


def test_lora_trains_adapters_and_tags_alone():
    model, tags = tiny(labels=2)
    spec = ResponderSpec(["A", "B"], "categories", tags, "", lora=vars(Lora(rank=2, dropout=0.0)))
    network = ResponderNetwork(spec, model).train()
    before = {name: values.clone() for name, values in network.named_parameters()}
    table = network.model.get_input_embeddings()
    old = table(torch.arange(302)).detach().clone()
    trained = [values for values in network.parameters() if values.requires_grad]
    batch = collate(rows(reader(tags), "A"), packed=True)
    optimiser = torch.optim.SGD(trained, lr=0.5)
    for _ in range(2):  # a fresh adapter's first factor has no gradient before the second has moved
        optimiser.zero_grad()
        found = network.losses(batch)
        (found.response.sum() + found.tag.sum()).backward()
        optimiser.step()
    changed = {name for name, values in network.named_parameters() if not torch.equal(values, before[name])}
    assert changed
    assert all("lora_" in name or "trainable_tokens" in name for name in changed)
    new = table(torch.arange(302)).detach()
    assert torch.equal(new[:300], old[:300])
    assert not torch.equal(new[300], old[300])
