"""`python cli.py responders`: the scores of several responders as study B prints them, its numbers beside them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.strategies import load_scheme
from errors import UserError
from lightning_modules.choices import POLICIES

__all__ = ["Trained", "main", "responder_table"]

_PUBLISHED: dict[tuple[str, bool], dict[str, float]] = {
    ("esconv", False): {"none": 0.226},
    ("merged", False): {"none": 0.229},
    ("esconv", True): {"none": 0.293, "random": 0.271, "classifier": 0.313},
    ("merged", True): {"none": 0.300, "random": 0.278, "classifier": 0.331},
}
"""Study B's BLEU, 0 to 1: (corpus, tagged) -> where the tag comes from -> score."""

_PUBLISHED_PRETRAINED = 0.073

_MERGED = frozenset(("esconv", "reddit"))


@dataclass(frozen=True)
class Trained:
    """What a responder was trained on, as study B tells its variants apart.

    Args:
        corpus: `esconv`, `merged` (ESConv and Reddit), the names of other sources, or `(untrained)`.
        tagged: Whether a tag stands before the response.
        as_study_b: Whether labels are the categories of study B's scheme.
    """

    corpus: str
    tagged: bool
    as_study_b: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> Trained:
        """Reads it from what a tested run left.

        Args:
            config: `config.yaml`.
            manifest: `manifest.json`.
            metrics: `metrics.json`, with `test/perplexity`.
        """
        tagged = bool(config["model"]["init_args"]["tagged"])
        options = manifest["options"]
        study_b = {name: list(parts) for name, parts in load_scheme().categories.items()}
        as_study_b = options["label_space"] == "categories" and options["scheme"] == study_b
        if metrics["test/perplexity"]["protocol"]["checkpoint"] is None:
            return cls("(untrained)", tagged, as_study_b)
        sources = {name.partition("/")[0] for name in manifest["splits"]["train"]["sources"]}
        return cls("merged" if sources == _MERGED else "+".join(sorted(sources)), tagged, as_study_b)

    def published(self, policy: str) -> float | None:
        """Study B's BLEU of the variant under a policy; None where it has no such variant."""
        if self.tagged and not self.as_study_b:
            return None
        if self.corpus == "(untrained)":
            return _PUBLISHED_PRETRAINED if policy == "none" and not self.tagged else None
        return _PUBLISHED.get((self.corpus, self.tagged), {}).get(policy)


_COLUMNS = {"bleu": "BLEU", "bleu_2_esc": "BLEU-2", "rouge_l": "ROUGE-L", "distinct_2": "dist-2", "obedience": "obeys"}

_PERPLEXITIES = {"perplexity": "perplexity", "perplexity_with_tag": "with tag"}

_NOTES = """\
BLEU: sacrebleu, 0 to 100; BLEU-2: as ESConv papers print it (published there for DialoGPT: near 5); metrics.json has
every number's full variant. perplexity: of response and end token, after the gold tag where there are tags, so not
comparable with that of a model without; with tag: of the tag too. Both are the same whatever the policy.
B: study B's BLEU, 0 to 1, of another variant on another test set, NOT comparable to ours.
oracle: the gold turn's strategy, an upper reference."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments.

    Returns:
        The exit status.

    Raises:
        UserError: A folder is no tested responder's run.
    """
    parser = argparse.ArgumentParser(
        prog="python cli.py responders",
        description="Tested responders side by side, study B's numbers beside them.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", help="run folders of fit or test")
    options = parser.parse_args(argv)
    print(responder_table([Path(run) for run in options.runs]))
    return 0


def responder_table(runs: list[Path]) -> str:
    """The table as text.

    Args:
        runs: Run folders.

    Raises:
        UserError: A folder is no tested responder's run.
    """
    from lightning_modules.evaluation_record import text_table

    read = [_read(run) for run in runs]
    titles = ["corpus", "tag", "policy", "responses", *_COLUMNS.values(), *_PERPLEXITIES.values()]
    lines = [[*titles, "B", "test set", "run"]]
    for run, (scores, trained) in zip(runs, read, strict=True):
        policies = list(dict.fromkeys(key.split("/")[1] for key in scores if key.count("/") == 2))
        split = next(iter(scores.values()))["protocol"]["split_hash"]
        for policy in sorted(policies, key=_order):
            published = trained.published(policy)
            keys = [*(f"{policy}/{key}" for key in _COLUMNS), *_PERPLEXITIES]
            lines.append(
                [
                    trained.corpus,
                    "yes" if trained.tagged else "no",
                    "oracle (gold)" if policy == "oracle" else policy,
                    str(scores[f"test/{policy}/bleu"]["n"]),
                    *(_cell(scores.get(f"test/{key}", {}).get("value")) for key in keys),
                    "-" if published is None else f"{published:.3f}"[1:],
                    split,
                    run.name,
                ]
            )
    splits = {line[-2] for line in lines[1:]}
    warning = (
        "\nThe runs were tested on different rows (test set): their numbers don't compare." if len(splits) > 1 else ""
    )
    return f"{text_table(lines)}\n{_NOTES}{warning}"


def _order(policy: str) -> int:
    known: tuple[str, ...] = POLICIES
    return known.index(policy) if policy in known else len(known)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}"


def _read(run: Path) -> tuple[dict[str, Any], Trained]:
    """Scores, and what was trained on."""
    import yaml

    try:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        scores, manifest = (
            json.loads((run / f"{n}.json").read_text(encoding="utf-8")) for n in ("metrics", "manifest")
        )
        kind = str(config["model"]["class_path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"'{run}' is no tested run: its metrics.json, manifest.json or config.yaml is missing or not readable"
        ) from None
    if not kind.endswith("StrategyResponder") or "test/perplexity" not in scores:
        raise UserError(f"'{run}' is no tested responder's run")
    return scores, Trained.of(config, manifest, scores)
