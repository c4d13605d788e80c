import asyncio
import json
import threading

import pytest
import tiny_language_model

from errors import UserError
from synthesis.engines import RejectedError, Request, Sampling
from synthesis.hf_engine import HuggingFaceEngine, plain_prompt

GREEDY = Sampling(temperature=0.0, max_tokens=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_language_model.build(tmp_path_factory.mktemp("model")))


def request(text, sampling=GREEDY, seed=0):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
    return Request(messages, sampling, seed, "actor")


def ask(engine, *requests):
    async def run():
        return await asyncio.gather(*(engine.complete(one) for one in requests))

    return asyncio.run(run())


def test_batched_answers_are_those_of_one_at_a_time(folder):
    engine = HuggingFaceEngine(folder, dtype="float32", batch_size=3)
    texts = ["Hi.", "What keeps you awake? I can't sleep, and I am sorry.", "I feel low", "Write a conversation."]
    together = ask(engine, *(request(text) for text in texts))
    apart = [ask(engine, request(text))[0] for text in texts]
    assert [reply.text for reply in together] == [reply.text for reply in apart]
    assert [reply.usage for reply in together] == [reply.usage for reply in apart]
    assert len({reply.text for reply in together}) > 1
    for reply in together:
        assert reply.finish == ("length" if reply.usage.completion_tokens == 8 else "stop")
        assert reply.model == folder


def test_the_tokenizer_reads_in_one_thread(folder, monkeypatch):
    """Two threads in one tokenizer: `Already borrowed`, or a batch without padding."""
    engine = HuggingFaceEngine(folder, dtype="float32", batch_size=2)
    threads, kind = [], type(engine._tokenizer)
    read = kind.__call__

    def noting(self, *given, **options):
        threads.append(threading.get_ident())
        return read(self, *given, **options)

    monkeypatch.setattr(kind, "__call__", noting)
    ask(engine, *(request(text) for text in ("Hi.", "What keeps you awake?", "I feel low")))
    assert threads == [threading.get_ident()] * 3  # once a prompt


def test_calls_of_unlike_sampling_keep_their_own(folder):
    engine = HuggingFaceEngine(folder, dtype="float32")
    short, long = ask(engine, request("Hi.", Sampling(0, 1, 2)), request("Hi.", Sampling(1.0, 1.0, 40), seed=3))
    assert short.usage.completion_tokens <= 2 < long.usage.completion_tokens <= 40
    assert ask(engine, request("Hi.", Sampling(1.0, 1.0, 40), seed=3))[0].text != ""


def test_the_same_seed_draws_the_same(folder):
    engine = HuggingFaceEngine(folder, dtype="float32")
    first, again, other = (ask(engine, request("Hi.", Sampling(1.0, 1.0, 30), seed=s))[0].text for s in (1, 1, 2))
    assert first == again != other


def test_the_chat_template_is_used_where_there_is_one(folder, tmp_path):
    assert HuggingFaceEngine(folder, dtype="float32").prompt(request("Hi.").messages) == (
        "<system>Be kind.</s><user>Hi.</s><assistant>"
    )
    plain = HuggingFaceEngine(str(tiny_language_model.build(tmp_path, template=None)), dtype="float32")
    assert plain.prompt(request("Hi.").messages) == "Instruction:\nBe kind.\n\nTask:\nHi.\n\nAnswer:\n"
    assert ask(plain, request("Hi."))[0].usage.prompt_tokens > 5


def test_plain_prompt_of_a_longer_conversation():
    messages = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")]
    assert plain_prompt(messages) == "Task:\nu\n\nAnswer:\na\n\nTask:\nu\n\nAnswer:\n"


@pytest.mark.parametrize(("quantization", "kind"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_weights_in_four_and_eight_bits(folder, quantization, kind):
    engine = HuggingFaceEngine(folder, quantization=quantization, dtype="float32")
    layer = engine._model.model.layers[0].mlp.up_proj
    assert type(layer).__name__ == kind
    if quantization == "nf4":
        assert layer.weight.quant_type == "nf4"
    (reply,) = ask(engine, request("Hi."))
    assert reply.usage.completion_tokens > 0
    assert engine.identity()["quantization"] == quantization


def test_a_prompt_longer_than_the_model_is_rejected(folder):
    engine = HuggingFaceEngine(folder, dtype="float32")
    with pytest.raises(RejectedError, match="the model has 4096"):
        ask(engine, request("word " * 5000))


def test_no_such_model(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        HuggingFaceEngine(str(tmp_path))


def test_identity_is_plain_data(folder):
    engine = HuggingFaceEngine(folder, dtype="float32")
    assert json.loads(json.dumps(engine.identity())) == {
        "engine": "huggingface",
        "model": folder,
        "revision": "",
        "quantization": None,
        "dtype": "float32",
        "seed": 0,
    }
