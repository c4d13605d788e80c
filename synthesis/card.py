"""The data card: what is in the folder, what made it, what it cost, and what it must not be taken for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.records import LEVEL_NAMES, MECHANISMS
from synthesis.store import ATTEMPTS, CARD, HELD, read_log, write_atomically

__all__ = ["Report", "write_card"]


@dataclass(frozen=True)
class Report:
    """How a run ended.

    Args:
        file: The file of rows in the folder.
        wanted: Cell's name -> accepted dialogues wanted.
        accepted: Cell's name -> accepted dialogues.
        failed: Cell's name -> dialogues that came to nothing.
        stopped: Why the run ended before its plan did; empty where it didn't.
        tokens: Spent on this folder in all.
        cost: Spent on this folder in all.
        repaired: Bytes of a half line that an earlier run had left.
    """

    file: str
    wanted: dict[str, int]
    accepted: dict[str, int]
    failed: dict[str, int]
    stopped: str
    tokens: int
    cost: float
    repaired: int

    @property
    def unmet(self) -> dict[str, int]:
        """Cell's name -> accepted dialogues that are missing."""
        return {cell: n - self.accepted[cell] for cell, n in self.wanted.items() if self.accepted[cell] < n}


@dataclass
class _Seen:
    """What the log says, counted in one pass."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    prompt_tokens: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    completion_tokens: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    cost: defaultdict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    estimated: int = 0
    prompts: set[tuple[str, str]] = field(default_factory=set)
    stops: Counter[tuple[str, str]] = field(default_factory=Counter)
    trials: Counter[int] = field(default_factory=Counter)
    levels: Counter[tuple[str, int]] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    rationales: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    from_sources: Counter[str] = field(default_factory=Counter)


def write_card(folder: Path, report: Report) -> None:
    """Writes `card.md`.

    Args:
        folder: The output folder.
        report: Of the run that has just ended.
    """
    write_atomically(folder / CARD, [_card(_count(folder / ATTEMPTS), report)])


def _count(log: Path) -> _Seen:
    seen = _Seen()
    for record in read_log(log):
        if record["kind"] == "run":
            seen.runs.append(record)
        elif record["kind"] == "call":
            key = (record["role"], record["model"], record["revision"])
            seen.calls[key] += 1
            seen.prompt_tokens[key] += record["prompt_tokens"]
            seen.completion_tokens[key] += record["completion_tokens"]
            seen.cost[key] += record["cost"]
            seen.estimated += record["tokens_estimated"]
            if record["prompt_hash"]:
                seen.prompts.add((record["role"], record["prompt_hash"]))
        else:
            _count_dialogue(seen, record)
    return seen


def _count_dialogue(seen: _Seen, record: Mapping[str, Any]) -> None:
    seen.stops[record["stop_reason"], "accepted" if record["accepted"] else "failed"] += 1
    seen.notes.update(record["notes"])
    if record["accepted"] and record["method"] == "reflexion":
        seen.trials[len(record["trials"])] += 1
    seen.rows += len(record["rows"])
    for row in record["rows"]:
        seen.levels.update(row.get("levels", {}).items())
        seen.rationales.update(row.get("rationales", {}).keys())
        seen.from_sources.update(row.get("prompt_sources", []))
    for turn in record["rows"][0].get("turns", []) if record["rows"] else []:
        seen.strategies.update([turn["strategy"]] if "strategy" in turn else [])


def _card(seen: _Seen, report: Report) -> str:
    fixed = seen.runs[0]["fixed"]
    dates = sorted({run["started"][:10] for run in seen.runs})
    accepted, failed = sum(report.accepted.values()), sum(report.failed.values())
    parts = [
        "---\nlanguage: en\ntags:\n- synthetic\n- empathy\n- counselling\n---",
        f"# Synthetic dialogues by {fixed['generator']}",
        f"{seen.rows} rows of {accepted} accepted dialogues in `{report.file}`; {failed} dialogues came to nothing. "
        f"Every attempt is in `{ATTEMPTS}`. Made {' to '.join(dict.fromkeys((dates[0], dates[-1])))} in "
        f"{len(seen.runs)} start{'s' if len(seen.runs) > 1 else ''}. "
        "All text was written by a language model; no person said it.",
        "## Counts",
        _table(
            ("cell", "wanted", "accepted", "failed", "missing"),
            [(c, n, report.accepted[c], report.failed[c], report.unmet.get(c, 0)) for c, n in report.wanted.items()],
        ),
        f"Quotas {'not met: ' + str(sum(report.unmet.values())) + ' missing' if report.unmet else 'met'}."
        + (f" The last run stopped early: {report.stopped}." if report.stopped else ""),
        _table(
            ("how dialogues ended", "", "dialogues"), [(why, end, n) for (why, end), n in sorted(seen.stops.items())]
        ),
        *_labels(seen),
        "## Models, tokens, cost",
        _spending(seen),
        f"{seen.estimated} of {sum(seen.calls.values())} calls had no token counts from the engine and are estimated.",
        "## Prompts and settings",
        f"Prompts `{seen.runs[0]['prompts_path']}`, version `{fixed['prompts']}`; seed {fixed['seed']}.",
        _table(("role", "versions"), _versions(seen.prompts)),
        _table(("setting", "value"), [(key, f"`{value}`") for key, value in fixed.items()]),
        "## Known limits",
        *(f"- {limit}" for limit in _limits(seen, fixed)),
    ]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def _labels(seen: _Seen) -> list[str]:
    parts = []
    if seen.levels:
        rows = [
            (m, *(seen.levels[m, level] for level in range(3)), seen.rationales[m])
            for m in MECHANISMS
            if any(seen.levels[m, level] for level in range(3))
        ]
        parts.append(_table(("labels of the rows", *LEVEL_NAMES, "with rationales"), rows))
    if seen.strategies:
        parts.append(_table(("strategies of the supporters' turns", "turns"), sorted(seen.strategies.items())))
    if seen.trials:
        parts.append(_table(("trials until accepted (reflexion)", "dialogues"), sorted(seen.trials.items())))
    if seen.notes:
        parts.append(_table(("left off or not found", "number"), sorted(seen.notes.items())))
    return parts


def _spending(seen: _Seen) -> str:
    head = ("role", "model", "revision", "calls", "prompt tokens", "completion tokens", "cost")
    rows: list[tuple[Any, ...]] = [
        (*key, n, seen.prompt_tokens[key], seen.completion_tokens[key], f"{seen.cost[key]:.4f}")
        for key, n in sorted(seen.calls.items())
    ]
    sums = [sum(counter.values()) for counter in (seen.calls, seen.prompt_tokens, seen.completion_tokens)]
    return _table(head, [*rows, ("all", "", "", *sums, f"{sum(seen.cost.values()):.4f}")])


def _versions(prompts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    by_role: defaultdict[str, list[str]] = defaultdict(list)
    for role, version in sorted(prompts):
        by_role[role].append(f"`{version}`")
    return [(role, " ".join(versions)) for role, versions in by_role.items()]


def _limits(seen: _Seen, fixed: Mapping[str, Any]) -> list[str]:
    by = {
        "llm": "a language model with a rubric",
        "model": "a trained model",
        "both": "a language model and a trained model where they agree",
        "none": "nobody: they are what was asked for",
    }[fixed["evaluator"]]
    limits = [
        f"The labels were given by {by}; no clinician and no trained annotator has checked them.",
        "Language models write tidier, kinder and more alike than people do, and repeat the stereotypes of what they "
        "were trained on. Audit the rows (duplicates, diversity, bias, privacy) before training on them.",
        "The scenarios are drawn evenly from short lists; they are no sample of who seeks help, or for what.",
        "Not for use as advice to anybody.",
        "The engine's and the model's terms of use apply to the texts.",
    ]
    if seen.from_sources:
        shares = ", ".join(f"{n} with {source} rows" for source, n in sorted(seen.from_sources.items()))
        limits.append(
            f"Rows made from prompts that held real text: {shares}. They may repeat it: audit before sharing."
        )
    if "clinical" in seen.from_sources:
        limits.append(f"Rows from prompts with clinical text stay in `{HELD}` until the audit's gate lets them go.")
    return limits


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
