"""A model card: Markdown with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from math import isnan
from typing import Any

from datamodules.records import LEVEL_NAMES, MECHANISMS
from experiments.report import words
from experiments.report.record import caveats
from experiments.report.runs import Experiment, Run
from metrics.calibration import reliability

__all__ = ["model_card"]

_SHOWN = (
    "level_accuracy",
    "level_f1_macro",
    "level_f1_weighted",
    "level_kappa_quadratic",
    "rationale_f1",
    "rationale_iou_f1",
)
_TASK = {
    "empathy": ("text-classification", "recognises how a response to a person in need expresses empathy"),
    "strategy": ("text-classification", "names the support strategy of a supporter's turn"),
    "responder": ("text-generation", "writes a supporter's next turn in a conversation"),
}
_TYPES = {"level_accuracy": "accuracy", "accuracy": "accuracy", "level_f1_macro": "f1", "f1_macro": "f1"}
_DATA = {
    "reddit": "EPITOME Reddit pairs (Sharma et al., EMNLP 2020): University of Washington academic licence, non-profit "
    "research.",
    "esconv": "ESConv (Liu et al., ACL 2021): CC BY-NC 4.0.",
    "clinical": "Clinical conversations: private. Weights may have memorised parts of them: don't publish the model "
    "without consent that covers it.",
    "synthetic": "Synthetic rows: they carry the terms of the model that wrote them.",
}
_USE = {
    "empathy": """```python
from inference import EmpathyScorer

scorer = EmpathyScorer.load("{folder}")
score = scorer.score(("I lost my job.", "I am so sorry. What happened?"))
print(score.levels, score.rationales)
```""",
    "strategy": "```bash\npython cli.py score dialogues.jsonl --checkpoint {folder} --output scores.jsonl\n```",
    "responder": "```bash\npython cli.py respond dialogues.jsonl --checkpoint {folder} --output responses.jsonl\n```",
}


def model_card(experiment: Experiment) -> str:
    """The card of one run.

    Args:
        experiment: Holds the run alone.
    """
    import yaml

    run = experiment.runs[0]
    front = yaml.safe_dump(_front(run), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {run.name}",
        f"A model that {_TASK[run.task][1]}. {' '.join(caveats([experiment]))}".strip(),
        "## What it is for\n\n" + _purpose(run),
        "## How to use it\n\n" + _use(run),
        "## What it learned from\n\n" + _training(run),
        "## How well it does\n\n" + _evaluation(run),
        "## Limits\n\n" + _limits(run),
        "## How it was made\n\n" + _making(run),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _sources(run: Run, split: str) -> list[str]:
    return sorted({name.partition("/")[0] for name in run.manifest["splits"][split]["sources"]})


def _front(run: Run) -> dict[str, Any]:
    base = str(run.model.get("encoder") or run.model.get("model") or "")
    front: dict[str, Any] = {
        "language": ["en"],
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "library_name": "pytorch",
        "pipeline_tag": _TASK[run.task][0],
        "tags": ["attune", "counselling", "empathy" if run.task == "empathy" else "emotional-support"],
    }
    if base and not base.startswith(("/", ".")):
        front["base_model"] = base
    front["model-index"] = [{"name": run.name, "results": _results(run)}]
    return front


def _results(run: Run) -> list[dict[str, Any]]:
    """A result a mechanism, as the hub's leaderboard reads them."""
    split = next(iter(run.metrics.values()))["protocol"]["split_hash"]
    parts = {f"{words.mechanism(name)}, ": f"test/{name}/" for name in run.mechanisms} or {"": "test/"}
    results = []
    for told, prefix in parts.items():
        metrics = [
            {"type": _TYPES[key], "name": words.metric(key), "value": round(run.value(prefix + key), 4)}
            for key in _TYPES
            if prefix + key in run.metrics and not isnan(run.value(prefix + key))
        ]
        if metrics:
            name = f"{told}{run.tested_on} (test set {split})"
            dataset = {"type": run.tested_on.replace(" ", "-"), "name": name, "split": "test"}
            results.append({"task": {"type": _TASK[run.task][0]}, "dataset": dataset, "metrics": metrics})
    return results


def _use(run: Run) -> str:
    """How the model is loaded, where the run kept it."""
    if any((run.folder / "checkpoints").glob("*.ckpt")):
        return _USE[run.task].format(folder=run.name)
    if run.config.get("ckpt_path"):
        return "These are a test's numbers: load the model from the folder of the run that trained it."
    return (
        "The run kept no checkpoint, so there is nothing to load; train it anew: `python cli.py "
        "fit --config config.yaml --keep_checkpoints true` with the run's `config.yaml`."
    )


def _purpose(run: Run) -> str:
    if run.task == "responder":
        return (
            "Research on support strategies in generated responses. It isn't meant to talk to people in need: nothing "
            "keeps it from wrong, hurtful or dangerous advice, and it is no help in a crisis."
        )
    return (
        "Research on how support is expressed in text: measuring many responses, comparing conditions. It isn't meant "
        "to judge a single counsellor, to decide about care, or to notice a crisis; its output is an estimate with the "
        "errors below."
    )


def _training(run: Run) -> str:
    lines = ["| split | source | rows |", "|---|---|---|"]
    for split in ("train", "validation", "test"):
        for source, entry in sorted(run.manifest["splits"][split]["sources"].items()):
            lines.append(f"| {split} | {source} | {entry['rows']:,} |")
    lines.append("")
    lines += [f"- {_DATA[source]}" for source in _sources(run, "train") if source in _DATA]
    mix = run.manifest.get("mix") or {}
    if mix.get("added"):
        removed = mix.get("removed", 0)
        lines.append(f"- The mix added {mix['added']:,} synthetic rows and took {removed:,} base rows out.")
    return "\n".join(lines)


def _evaluation(run: Run) -> str:
    protocol = next(iter(run.metrics.values()))["protocol"]
    text = (
        f"On {run.manifest['splits']['test']['rows']:,} held-out rows of {run.tested_on} (test set "
        f"{protocol['split_hash']}, seed {run.seed}, checkpoint {protocol.get('checkpoint')}); the table names "
        "the rows that each score rests on. Intervals: 95 %, bootstrap over groups of test rows; another training seed "
        "varies on top of that.\n\n"
    )
    if run.task != "empathy":
        keys = [key for key in run.metrics if key.startswith("test/") and not key.endswith("_majority")]
        scores = {words.metric(key.removeprefix("test/")): run.estimate(key) for key in keys}
        rows = [f"| {name} | {score} | {score.n:,} |" for name, score in scores.items()]
        return text + "\n".join(["| score | value | rows |", "|---|---|---|", *rows])
    lines = ["| mechanism | score | value | rows | trivial baseline |", "|---|---|---|---|---|"]
    for name in run.mechanisms:
        for key in (key for key in _SHOWN if f"test/{name}/{key}" in run.metrics):
            full = f"test/{name}/{key}"
            score = run.estimate(full)
            cells = [words.mechanism(name), words.metric(key), str(score), f"{score.n:,}"]
            lines.append(f"| {' | '.join([*cells, words.number(run.trivial(full))])} |")
        if (found := run.predicted(name)) is not None:
            error = reliability(found.confidence, found.confirmed.astype(float)).error
            cells = [words.mechanism(name), "expected calibration error", words.number(error), f"{len(found.names):,}"]
            lines.append(f"| {' | '.join(cells)} |  |")
    lines.append("\nRationale scores are over words, on rows of level above 0 with an annotated rationale.")
    return text + "\n".join(lines)


def _limits(run: Run) -> str:
    lines = [
        "- English text of the sources above; other platforms, languages, ages and cultures are untested.",
        "- Annotators disagree too: a score is agreement with one annotation scheme, not with how a person felt.",
    ]
    counts = run.manifest["splits"]["test"]["sources"]
    for name in MECHANISMS if run.task == "empathy" else ():
        rare = [sum(entry["levels"].get(name, {}).get(level, 0) for entry in counts.values()) for level in "012"]
        if name in run.mechanisms and min(rare) < 50:
            level = LEVEL_NAMES[rare.index(min(rare))]
            lines.append(f"- {words.mechanism(name)}: {min(rare)} test rows are {level}; its scores are unsure.")
    if _sources(run, "train") == ["synthetic"]:
        lines.append("- It has seen synthetic rows alone; real text is harder.")
    return "\n".join(lines)


def _making(run: Run) -> str:
    found = run.environment
    versions = ", ".join(f"{name} {version}" for name, version in (found.get("packages") or {}).items())
    rows = [
        f"- Date: {found.get('date')}; commit {str(found.get('git_commit'))[:12]}",
        f"- Python {found.get('python')}; {versions}",
        f"- Device: {', '.join(found.get('devices') or [])}; {found.get('cpu_count')} CPU cores",
        f"- Training rows' hash: {run.manifest['splits']['train']['ids_sha256'][:12]}",
        "- The run's `config.yaml` reruns it: `python cli.py fit --config config.yaml`.",
    ]
    cite = {
        "empathy": "Sharma et al., EMNLP 2020 (EPITOME); Cabrera Lozoya et al., CLPsych 2025 (synthetic empathy).",
        "strategy": "Liu et al., ACL 2021 (ESConv); Sharma et al., EMNLP 2020 (EPITOME).",
        "responder": "Liu et al., ACL 2021 (ESConv); Zhang et al., ACL 2020 (DialoGPT), where it was the start.",
    }[run.task]
    return "\n".join([*rows, f"- Cite: {cite}"])
