"""A causal language model in this process, in full precision or loaded in 4 or 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from errors import UserError
from microbatches import Batcher, in_groups
from pretrained import locate
from synthesis.engines import Engine, Message, RejectedError, Reply, Request, Sampling, Usage

__all__ = ["HuggingFaceEngine", "plain_prompt"]

Quantization = Literal["nf4", "int8"]


class _Asked(NamedTuple):
    """A request and its prompt's token ids."""

    request: Request
    prompt: list[int]


def plain_prompt(messages: Sequence[Message]) -> str:
    """Messages for a model without a chat template (Falcon-7B has none): texts under headings, the answer's last."""
    headings = {"system": "Instruction", "user": "Task", "assistant": "Answer"}
    parts = [f"{headings[message['role']]}:\n{message['content']}\n" for message in messages]
    return "\n".join([*parts, "Answer:\n"])


class HuggingFaceEngine(Engine):
    """Batched generation with a model from a folder or the Hugging Face hub.

    The draw of a batch depends on what is in it, so sampled texts repeat only if the calls come in the same order;
    with temperature 0 they don't depend on it.

    Args:
        model: A folder, or a name on the hub.
        name: Names the generator in rows (null: the model's name).
        revision: The hub's branch, tag or commit; the log has the commit that it was.
        quantization: `nf4` (4 bits) or `int8`, by bitsandbytes; null: none.
        dtype: Type of the parameters, or of the computation where they are quantized.
        device: `cuda`, `cpu` or another of torch's; null: the GPU where there is one. `auto` spreads a model over
            several GPUs (needs the package accelerate).
        batch_size: Calls that are answered together.
        seed: Added to the calls' own seeds.
    """

    def __init__(
        self,
        model: str,
        name: str | None = None,
        revision: str | None = None,
        quantization: Quantization | None = None,
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        device: str | None = None,
        batch_size: int = 8,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"engine: batch_size is {batch_size}; it is 1 or more")
        self.model_name = model
        self.name = name or model.rstrip("/").rsplit("/", 1)[-1]
        self.quantization = quantization
        self.dtype = dtype
        self.concurrency = 2 * batch_size  # the next batch collects while one is computed
        self.seed = seed
        self._tokenizer, self._model = _load(model, revision, quantization, dtype, device)
        self._revision = getattr(self._model.config, "_commit_hash", None) or revision or ""
        self._batches: Batcher[_Asked, Reply] = Batcher(self._answer, batch_size)

    def identity(self) -> dict[str, Any]:
        """See `Engine.identity`."""
        return {
            "engine": "huggingface",
            "model": self.model_name,
            "revision": self._revision,
            "quantization": self.quantization,
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def outside(self) -> list[str]:
        """Nothing leaves this process."""
        return []

    async def complete(self, request: Request) -> Reply:
        """See `Engine.complete`."""
        longest = getattr(self._model.config, "max_position_embeddings", None)
        templated = self._tokenizer.chat_template is not None
        # here and not in the batches' thread: two threads can't use one tokenizer
        prompt = self._tokenizer(self.prompt(request.messages), add_special_tokens=not templated)["input_ids"]
        length = len(prompt) + request.sampling.max_tokens
        if longest and length > longest:
            raise RejectedError(f"prompt and answer may take {length} tokens, the model has {longest}")
        return await self._batches.submit(_Asked(request, prompt))

    async def close(self) -> None:
        """See `Engine.close`."""
        self._batches.close()

    def prompt(self, messages: Sequence[Message]) -> str:
        """The messages as the model reads them."""
        if self._tokenizer.chat_template is None:
            return plain_prompt(messages)
        text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return text

    def _answer(self, asked: Sequence[_Asked]) -> list[Reply]:
        return in_groups(asked, lambda one: one.request.sampling, self._generate)

    def _generate(self, sampling: Sampling, asked: Sequence[_Asked]) -> list[Reply]:
        import torch

        lengths = [len(one.prompt) for one in asked]
        width = max(lengths)
        padding = [[self._tokenizer.pad_token_id] * (width - length) for length in lengths]  # on the left
        ids = torch.tensor([[*filler, *one.prompt] for filler, one in zip(padding, asked, strict=True)])
        mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
        draw = (
            {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if sampling.temperature else {}
        )
        torch.manual_seed(self._batch_seed([one.request for one in asked]))
        try:
            with torch.inference_mode():
                output = self._model.generate(
                    input_ids=ids.to(self._model.device),
                    attention_mask=mask.long().to(self._model.device),
                    do_sample=bool(draw),
                    max_new_tokens=sampling.max_tokens,
                    pad_token_id=self._tokenizer.pad_token_id,
                    **draw,
                )
        except torch.OutOfMemoryError:
            raise UserError(f"engine: no memory for {len(asked)} calls at once: lower batch_size") from None
        return [self._reply(tokens[width:].tolist(), read) for tokens, read in zip(output, lengths, strict=True)]

    def _reply(self, tokens: list[int], read: int) -> Reply:
        """One answer; what stands after its end token is padding."""
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        length = next((place for place, token in enumerate(tokens) if token in ends), None)
        finish = "stop" if length is not None else "length"
        written = tokens[:length] if length is not None else tokens
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        usage = Usage(read, len(written) + (length is not None))
        return Reply(text, usage, finish, self.model_name, self._revision)

    def _batch_seed(self, requests: Sequence[Request]) -> int:
        seeds = ",".join(str(request.seed) for request in requests)
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{seeds}".encode()).digest()[:7])


def _load(model: str, revision: str | None, quantization: Quantization | None, dtype: str, device: str | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, tried = locate(model)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if revision:
        options["revision"] = revision
    if quantization:
        options["quantization_config"] = _bits(quantization, options["dtype"])
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision or "main")
        network: Any = AutoModelForCausalLM.from_pretrained(place, device_map=device, **options)
    except (OSError, ValueError, ImportError) as error:
        first_line = str(error).strip().split("\n", 1)[0]
        raise UserError(f"engine: model '{model}' can't be loaded ({'; '.join([*tried, first_line])})") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, network.eval()


def _bits(quantization: Quantization, dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    config: Any = BitsAndBytesConfig
    if quantization == "int8":
        return config(load_in_8bit=True)
    return config(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
