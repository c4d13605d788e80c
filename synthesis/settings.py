"""What a run is made of: the options of `python cli.py synthesize`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from errors import UserError
from synthesis.engines import Engine, Sampling
from synthesis.examples import ExampleOptions
from synthesis.limits import Budget, Retry
from synthesis.reflexion import MethodOptions
from synthesis.targets import Targets

__all__ = ["Settings"]


@dataclass
class Settings:
    """Everything that a run is made of.

    Args:
        engine: Writes the dialogues and the reflections.
        prompts: The prompts file.
        targets: What is to be made.
        evaluator: Who judges and labels the dialogues: `llm` (the judge with the prompts file's rubric), `model` (the
            scorer), `both` (they must agree), or `none` (standalone only; rows are labelled as they were asked for).
        judge: Engine of the evaluator (null: `engine`).
        scorer: The trained evaluator: class_path and init_args of something with `score(pairs)`.
        method: How dialogues are made.
        examples: Real pairs in the actor's prompt.
        writing: How the writer draws its tokens.
        judging: How the judge does.
        repeats: How often an answer that can't be used is asked for again.
        retry: When a call that failed is sent again.
        budget: What the output folder may cost.
        seed: Of scenarios and calls.
    """

    engine: Engine
    prompts: str
    targets: Targets = field(default_factory=Targets)
    evaluator: Literal["llm", "model", "both", "none"] = "llm"
    judge: Engine | None = None
    scorer: dict[str, Any] | None = None
    method: MethodOptions = field(default_factory=MethodOptions)
    examples: ExampleOptions | None = None
    writing: Sampling = field(default_factory=lambda: Sampling(1.0, 0.95, 600))
    judging: Sampling = field(default_factory=lambda: Sampling(0.0, 1.0, 300))
    repeats: int = 2
    retry: Retry = field(default_factory=Retry)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks what goes together."""
        problems = []
        if self.evaluator == "none" and "reflexion" in self.targets.methods:
            problems.append("evaluator none and the method reflexion: reflexion needs one; choose llm, model or both")
        if (self.evaluator in ("model", "both")) != (self.scorer is not None):
            problems.append(f"evaluator {self.evaluator} and scorer: give a scorer with model and both, and only then")
        if self.targets.kind == "strategy" and self.evaluator in ("model", "both"):
            problems.append("evaluator: a trained empathy model sees no strategies; choose llm or none")
        if self.targets.kind == "strategy" and self.method.rationales:
            problems.append("method.rationales: rationales belong to levels, and targets.kind is strategy")
        if self.method.max_trials < 1 or self.method.memory < 0 or self.repeats < 0:
            problems.append("method.max_trials is 1 or more, method.memory and repeats 0 or more")
        if problems:
            raise UserError("\n".join(problems))
