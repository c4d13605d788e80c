"""Where a strategy comes from: nowhere, chance, a classifier, the responder itself, or (as an oracle) the gold turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datamodules.dialogues import Turn
from errors import UserError
from lightning_modules.choices import Choice, PolicyName, StrategyJudge, StrategyPolicy, TurnContext
from lightning_modules.networks.decoding import uniform_of

if TYPE_CHECKING:
    from datamodules.contexts import ResponderFormat
    from inference.strategist import Strategist
    from lightning_modules.networks.responder import ResponderNetwork

__all__ = [
    "ClassifierJudge",
    "ClassifierPolicy",
    "ModelPolicy",
    "NoPolicy",
    "OraclePolicy",
    "RandomPolicy",
    "build_policy",
    "draw",
]


def draw(probabilities: Mapping[str, float], seed: int, key: str) -> str:
    """Draws a label: where a number that seed and key fix falls among the cumulated probabilities.

    Args:
        probabilities: Label -> weight, not all 0.
        seed: Seed.
        key: Names what is drawn for.
    """
    number = uniform_of(seed, f"strategy:{key}") * sum(probabilities.values())
    passed = 0.0
    for label, weight in probabilities.items():
        passed += weight
        if number < passed:
            return label
    return [label for label, weight in probabilities.items() if weight > 0][-1]


class NoPolicy(StrategyPolicy):
    """No tag, whether or not the responder knows tags."""

    name = "none"

    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Nothing for each."""
        return [Choice(None, None) for _ in contexts]


class _TagPolicy(StrategyPolicy):
    """A policy that names tags needs a responder that has them."""

    @property
    def labels(self) -> list[str]:
        return self.network.spec.labels

    def attach(self, network: ResponderNetwork, row_format: ResponderFormat) -> None:
        """Checks that the responder was trained with tags."""
        super().attach(network, row_format)
        if not network.spec.tag_ids:
            raise UserError(f"policy {self.name}: the responder was trained without tags; only policy none fits it")


class RandomPolicy(_TagPolicy):
    """A label by chance.

    Args:
        by_prior: Draw by the labels' frequencies in training; else all are equally likely.
        seed: Seed of the draws.
    """

    def __init__(self, by_prior: bool = False, seed: int = 0) -> None:
        self.by_prior = by_prior
        self.seed = seed
        self.name = "random_prior" if by_prior else "random"

    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Draws for each."""
        counts = self.network.label_counts.tolist()
        if not self.by_prior or not sum(counts):
            counts = [1.0] * len(self.labels)
        prior = {label: count / sum(counts) for label, count in zip(self.labels, counts, strict=True)}
        return [Choice(draw(prior, self.seed, context.key), dict(prior)) for context in contexts]


class ClassifierPolicy(_TagPolicy):
    """What a trained classifier says of the next turn.

    Args:
        classifier: Its run or checkpoint.
        sampled: Draw by its calibrated probabilities; else take the best.
        seed: Seed of the draws.
        device: Where to compute.
    """

    def __init__(
        self,
        classifier: str | Path,
        sampled: bool = False,
        seed: int = 0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.classifier = classifier
        self.sampled = sampled
        self.seed = seed
        self.device: Literal["auto", "cpu", "cuda"] = device
        self.name = "classifier_sampled" if sampled else "classifier"
        self.strategist: Strategist | None = None
        """The loaded classifier; `attach` loads it where it isn't set."""

    def attach(self, network: ResponderNetwork, row_format: ResponderFormat) -> None:
        """Loads the classifier and checks that it speaks of the responder's labels."""
        super().attach(network, row_format)
        if self.strategist is None:
            from inference.strategist import Strategist

            self.strategist = Strategist.load_next(self.classifier, self.device)
        spec = self.strategist.network.spec
        if (spec.label_space, spec.labels) != (network.spec.label_space, network.spec.labels):
            raise UserError(
                f"policy {self.name}: the classifier knows {spec.label_space} ({', '.join(spec.labels)}), "
                f"the responder {network.spec.label_space} ({', '.join(network.spec.labels)}); "
                "train both with one --data.label_space and one --data.scheme"
            )

    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Asks the classifier."""
        assert self.strategist is not None
        found = self.strategist.next_turns([context.turns for context in contexts])
        return [
            Choice(
                draw(entry.probabilities, self.seed, context.key) if self.sampled else entry.strategy,
                entry.probabilities,
            )
            for entry, context in zip(found, contexts, strict=True)
        ]


class ModelPolicy(_TagPolicy):
    """The tag that the responder itself finds likeliest."""

    name = "model"

    def attach(self, network: ResponderNetwork, row_format: ResponderFormat) -> None:
        """Checks that the responder has learnt to choose."""
        super().attach(network, row_format)
        if not network.spec.tag_in_loss:
            raise UserError("policy model: the responder was trained with --model.tag_in_loss false and can't choose")

    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Takes the likeliest tag after each context."""
        prompts = [self.row_format.prompt(context.tokens, None)[0] for context in contexts]
        table = self.network.tag_probabilities(prompts).tolist()
        chosen = [dict(zip(self.labels, values, strict=True)) for values in table]
        return [Choice(max(entry, key=lambda label: entry[label]), entry) for entry in chosen]


class OraclePolicy(_TagPolicy):
    """The label of the turn that really came next: an upper reference, never a default."""

    name = "oracle"

    def choose(self, contexts: Sequence[TurnContext]) -> list[Choice]:
        """Takes the gold label of each; none where the turn isn't annotated."""
        return [Choice(context.gold, None) for context in contexts]


def build_policy(
    name: PolicyName,
    *,
    classifier: str | Path | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> StrategyPolicy:
    """A policy by its name.

    Args:
        name: Which.
        classifier: The run of a classifier, for the two policies that need one.
        seed: Seed of all draws.
        device: Where a classifier computes.

    Raises:
        UserError: A classifier is missing, or given to a policy that has no use for it.
    """
    needs = name.startswith("classifier")
    if needs != (classifier is not None):
        way_out = "name its run with --classifier" if needs else "leave --classifier out"
        raise UserError(f"--policy {name} {'needs' if needs else 'uses no'} classifier: {way_out}")
    if classifier is not None:
        return ClassifierPolicy(classifier, sampled=name == "classifier_sampled", seed=seed, device=device)
    if name in ("random", "random_prior"):
        return RandomPolicy(by_prior=name == "random_prior", seed=seed)
    if name == "model":
        return ModelPolicy()
    return OraclePolicy() if name == "oracle" else NoPolicy()


class ClassifierJudge(StrategyJudge):
    """A classifier of given turns says which strategy a written response uses.

    Args:
        classifier: The run or checkpoint of a classifier trained with target `given`.
        device: Where to compute.
    """

    def __init__(self, classifier: str | Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
        from inference.strategist import Strategist

        self._strategist = Strategist.load(classifier, device)
        if self._strategist.format.target != "given":
            raise UserError(f"judge '{classifier}': a classifier trained with --model.target given is needed")

    def recognise(self, contexts: Sequence[TurnContext], responses: Sequence[str]) -> list[str]:
        """The strategy of each response."""
        asked = [
            ([*context.turns, Turn("supporter", response)], len(context.turns))
            for context, response in zip(contexts, responses, strict=True)
        ]
        return [score.strategy for score in self._strategist.turns(asked)]
