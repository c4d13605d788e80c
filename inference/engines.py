"""An engine as `inference` and `experiments` ask it: an object that a config names by its `class_path`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from errors import UserError

__all__ = ["Answer", "Asked", "Engine", "load_engine"]

SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 400}
"""How answers are drawn where a config doesn't say."""


class Answer(Protocol):
    """What an engine answered."""

    @property
    def text(self) -> str:
        """What was written."""

    @property
    def finish(self) -> str:
        """`stop`, `length` (cut off at `max_tokens`), `refusal`, or the server's own word."""

    @property
    def model(self) -> str:
        """The model that answered."""

    @property
    def revision(self) -> str:
        """Its version."""

    @property
    def usage(self) -> Any:
        """What it cost: `prompt_tokens`, `completion_tokens`."""


@runtime_checkable
class Engine(Protocol):
    """What is asked of an engine, such as those of `synthesis`: `synthesis.engines.Engine` says what each part does."""

    name: str
    concurrency: int

    def identity(self) -> dict[str, Any]:
        """Engine, model, revision."""

    def check_sources(self, sources: frozenset[str]) -> None:
        """Refuses text that must not leave this machine."""

    async def ask(
        self,
        messages: Sequence[dict[str, str]],
        sampling: Mapping[str, Any],
        seed: int = 0,
        *,
        role: Any,
        target: Mapping[str, Any] | None = None,
        sources: frozenset[str] = frozenset(),
    ) -> Answer | None:
        """Answers; None where it never will."""

    async def close(self) -> None:
        """Lets go of connections."""


@dataclass(frozen=True)
class Asked:
    """A config's engine and how it draws.

    Args:
        engine: The engine.
        sampling: `temperature`, `top_p` and `max_tokens`.
    """

    engine: Engine
    sampling: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides its messages and seed."""
        return {**self.engine.identity(), "sampling": dict(self.sampling)}


def load_engine(config: Path, **sampling: float) -> Asked:
    """Builds the engine that a config names.

    Args:
        config: YAML with `engine` (`class_path`, `init_args`) and, if wanted, `sampling`.
        sampling: Defaults of the sampling other than `SAMPLING`.

    Raises:
        UserError: The config can't be used.
    """
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser
    from jsonargparse.typing import NonNegativeFloat, PositiveInt, restricted_number_type

    share = restricted_number_type("Share", float, [(">", 0), ("<=", 1)])
    parser = ArgumentParser(exit_on_error=False)
    defaults = {**SAMPLING, **sampling}
    for name, kind in (("temperature", NonNegativeFloat), ("top_p", share), ("max_tokens", PositiveInt)):
        parser.add_argument(f"--sampling.{name}", type=kind, default=defaults[name])
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        named = content["engine"]["class_path"]
        module, _, attribute = named.rpartition(".")
        maker = getattr(importlib.import_module(module), attribute)
        parser.add_class_arguments(maker, "engine", fail_untyped=False)
        given = {**content, "engine": content["engine"].get("init_args") or {}}
        if unknown := content["engine"].keys() - {"class_path", "init_args"}:
            raise ValueError(f"engine has {', '.join(sorted(unknown))} besides class_path and init_args")
        built = parser.instantiate(parser.parse_object(given))
    except UserError:
        raise
    except (
        ArgumentError,
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{config}: no engine can be made of it: {said or type(error).__name__}") from None
    if not isinstance(built.engine, Engine):
        raise UserError(f"{config}: {named} is no engine; see synthesis.engines.Engine for what one has")
    return Asked(built.engine, vars(built.sampling))
