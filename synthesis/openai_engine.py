"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, `transformers serve`; one or several."""

from __future__ import annotations

import ipaddress
import os
import time
from typing import Any
from urllib.parse import urlsplit

from errors import UserError
from synthesis.engines import BusyError, Engine, RejectedError, Reply, Request, Usage, estimate_tokens
from synthesis.limits import Pace

__all__ = ["OpenAIEngine", "is_local"]

_REST = 30.0
"""Seconds for which an address that couldn't be reached is left alone while others answer."""

_TOO_LONG_OR_FILTERED = ("content_filter", "content_policy", "context_length", "context length", "too long")


def is_local(url: str) -> bool:
    """Whether an address is this machine's loopback (`localhost`, 127.0.0.0/8, ::1)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Endpoint:
    """One address and what it is doing."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        import openai

        self.url = url
        self.in_flight = 0
        self.rests_until = 0.0
        # Text must arrive where the config sends it: no redirection, and to this machine no proxy of the environment.
        http = openai.DefaultAsyncHttpxClient(trust_env=not is_local(url), follow_redirects=False)
        self.client = openai.AsyncOpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0, http_client=http)


class OpenAIEngine(Engine):
    """Chat completions over HTTP.

    Args:
        model: As the server names it.
        base_urls: Addresses of servers of the same model, such as http://localhost:8000/v1; each request goes to the
            one with the fewest requests in flight, and past one that can't be reached.
        name: Names the generator in rows (null: the model's name).
        api_key_env: Environment variable that holds the key; servers on this machine need none.
        concurrency: Requests in flight at each address.
        requests_per_minute: Over all addresses (null: no limit).
        tokens_per_minute: Prompts and answers, over all addresses (null: no limit).
        timeout: Seconds for one request.
        price_input: Money for a million prompt tokens.
        price_output: Money for a million completion tokens.
        max_tokens_field: What the server calls the limit of an answer; newer models of OpenAI want
            `max_completion_tokens`.
        extra_body: Further fields of every request, such as {response_format: {type: json_object}}.
        revision: What the log says of the model's version where the server says nothing.
        allow_clinical: Addresses outside this machine that may be sent prompts with rows of a clinical source.
    """

    def __init__(
        self,
        model: str,
        base_urls: list[str],
        name: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 120.0,
        price_input: float = 0.0,
        price_output: float = 0.0,
        max_tokens_field: str = "max_tokens",
        extra_body: dict[str, Any] | None = None,
        revision: str = "",
        allow_clinical: list[str] | None = None,
    ) -> None:
        if not base_urls or concurrency < 1 or timeout <= 0:
            raise UserError("engine: give at least one of base_urls, concurrency 1 or more and a timeout above 0")
        if bad := [url for url in base_urls if urlsplit(url).scheme not in ("http", "https")]:
            raise UserError(f"engine: base_urls {', '.join(bad)}: an address begins with http:// or https://")
        try:
            import openai  # noqa: F401
        except ImportError:
            raise UserError("this engine needs the package openai: pip install 'attune[synthesis]'") from None
        key = os.environ.get(api_key_env, "")
        if not key and (remote := [url for url in base_urls if not is_local(url)]):
            raise UserError(
                f"engine: {', '.join(remote)} needs a key; put it into the environment variable {api_key_env}"
            )
        self.model = model
        self.name = name or model
        self.revision = revision
        self.concurrency = concurrency * len(base_urls)
        self.prices = (price_input, price_output)
        self.max_tokens_field = max_tokens_field
        self.extra_body = extra_body or {}
        self.allow_clinical = allow_clinical or []
        self.pace = Pace(requests_per_minute, tokens_per_minute)
        self.endpoints = [_Endpoint(url, key or "none", timeout) for url in base_urls]

    def identity(self) -> dict[str, Any]:
        """See `Engine.identity`."""
        return {
            "engine": "openai",
            "model": self.model,
            "revision": self.revision,
            "extra_body": self.extra_body,
        }

    def outside(self) -> list[str]:
        """See `Engine.outside`."""
        urls = [endpoint.url for endpoint in self.endpoints]
        return [url for url in urls if not is_local(url) and url not in self.allow_clinical]

    async def complete(self, request: Request) -> Reply:
        """See `Engine.complete`."""
        self.check_sources(request.sources)
        announced = estimate_tokens(request.messages) + request.sampling.max_tokens
        await self.pace.turn(announced)
        endpoint = self._least_busy()
        endpoint.in_flight += 1
        try:
            reply = await self._post(endpoint, request)
        finally:
            endpoint.in_flight -= 1
        self.pace.correct(reply.usage.prompt_tokens + reply.usage.completion_tokens - announced)
        return reply

    async def close(self) -> None:
        """See `Engine.close`."""
        for endpoint in self.endpoints:
            await endpoint.client.close()

    def _least_busy(self) -> _Endpoint:
        now = time.monotonic()
        return min(self.endpoints, key=lambda endpoint: (max(endpoint.rests_until - now, 0.0), endpoint.in_flight))

    async def _post(self, endpoint: _Endpoint, request: Request) -> Reply:
        import openai

        try:
            completion = await endpoint.client.chat.completions.create(
                model=self.model,
                messages=list(request.messages),  # type: ignore[arg-type]
                temperature=request.sampling.temperature,
                top_p=request.sampling.top_p,
                seed=request.seed,
                extra_body={self.max_tokens_field: request.sampling.max_tokens, **self.extra_body},
            )
        except openai.APIConnectionError as error:  # time-outs too
            if not isinstance(error, openai.APITimeoutError):
                endpoint.rests_until = time.monotonic() + _REST
            raise BusyError(f"{endpoint.url}: {error}") from None
        except openai.APIStatusError as error:
            raise _meaning(error, endpoint.url) from None
        if isinstance(completion, str):  # the client hands on what isn't JSON
            raise UserError(f"{endpoint.url} answers with something else than a chat completion; check base_urls")
        if not completion.choices:
            raise BusyError(f"{endpoint.url}: an answer without a choice")
        choice = completion.choices[0]
        text = choice.message.content or ""
        refused = bool(getattr(choice.message, "refusal", None))
        return Reply(
            text=text,
            usage=_usage(completion.usage, request, text),
            finish="refusal" if refused or choice.finish_reason == "content_filter" else str(choice.finish_reason),
            model=completion.model,
            revision=completion.system_fingerprint or "",
        )


def _usage(given: Any, request: Request, text: str) -> Usage:
    if given is None or None in (given.prompt_tokens, given.completion_tokens):
        return Usage(estimate_tokens(request.messages), 1 + len(text.encode()) // 3, estimated=True)
    return Usage(given.prompt_tokens, given.completion_tokens)


def _meaning(error: Any, url: str) -> Exception:
    """What an HTTP status means for the run."""
    status, said = error.status_code, " ".join(str(error.message).split())[:300]
    code = str(getattr(error, "code", None) or "")
    if status == 429 and code == "insufficient_quota":
        return UserError(f"{url}: the account has no credit left ({said}). Add some and start the same command again")
    if status in (408, 409, 425, 429) or status >= 500:
        return BusyError(f"{url}: {status} {said}", _retry_after(error.response.headers))
    if status in (400, 413, 422) and any(sign in f"{code} {said}".lower() for sign in _TOO_LONG_OR_FILTERED):
        return RejectedError(f"{status} {said}")
    ways = {
        401: "check the key",
        403: "check what the key may do",
        404: "check model and base_urls",
        400: "check model and max_tokens_field",
    }
    return UserError(
        f"{url} refuses the request: {status} {said}; {ways.get(status, 'check the engine in the config')}"
    )


def _retry_after(headers: Any) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return min(float(headers[name]) * unit, 3600.0)
        except (KeyError, ValueError):
            continue
    return None
