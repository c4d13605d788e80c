"""`python cli.py responders`: the scores of several responders as study B prints them, its numbers beside them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from errors import UserError
from lightning_modules.choices import POLICIES

__all__ = ["PUBLISHED", "main", "responder_table"]

PUBLISHED: dict[tuple[str, bool], dict[str, float]] = {
    ("esconv", False): {"none": 0.226},
    ("merged", False): {"none": 0.229},
    ("esconv", True): {"none": 0.293, "random": 0.271, "classifier": 0.313},
    ("merged", True): {"none": 0.300, "random": 0.278, "classifier": 0.331},
}
"""Study B's BLEU, 0 to 1: (corpus, tagged) -> where the tag comes from -> score."""

PUBLISHED_PRETRAINED = 0.073

_COLUMNS = {"bleu": "BLEU", "bleu_2_esc": "BLEU-2", "rouge_l": "ROUGE-L", "distinct_2": "dist-2", "obedience": "obeys"}

_NOTES = """\
BLEU: sacrebleu, 0 to 100; BLEU-2: as ESConv papers print it (published there for DialoGPT: near 5); metrics.json has
every number's full variant. B: study B's BLEU, 0 to 1, of another variant on another test set, NOT comparable to ours.
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
    lines = [["corpus", "tag", "policy", "responses", *_COLUMNS.values(), "perplexity", "B", "test set", "run"]]
    for run, (scores, corpus, tagged, trained) in zip(runs, read, strict=True):
        policies = list(dict.fromkeys(key.split("/")[1] for key in scores if key.count("/") == 2))
        split = next(iter(scores.values()))["protocol"]["split_hash"]
        shown = scores["test/perplexity"]["value"]
        for policy in sorted(policies, key=_order):
            published = PUBLISHED[corpus, tagged].get(policy) if trained else None
            if not trained and not tagged and policy == "none":
                published = PUBLISHED_PRETRAINED
            cells = [_cell(scores.get(f"test/{policy}/{key}", {}).get("value")) for key in _COLUMNS]
            lines.append(
                [
                    corpus if trained else "(untrained)",
                    "yes" if tagged else "no",
                    "oracle (gold)" if policy == "oracle" else policy,
                    str(scores[f"test/{policy}/bleu"]["n"]),
                    *cells,
                    _cell(shown),
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


def _read(run: Path) -> tuple[dict[str, Any], str, bool, bool]:
    """Scores, corpus, whether tags are on, whether the model was trained."""
    import yaml

    try:
        scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        model, data = config["model"], config["data"]["init_args"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"'{run}' is no tested run: its metrics.json or config.yaml is missing or not readable"
        ) from None
    if not str(model["class_path"]).endswith("StrategyResponder") or "test/perplexity" not in scores:
        raise UserError(f"'{run}' is no tested responder's run")
    trained = config.get("ckpt_path") is not None or (run / "checkpoints").is_dir()
    return scores, "merged" if data.get("reddit") else "esconv", bool(model["init_args"]["tagged"]), trained
