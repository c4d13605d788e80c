"""What a reader wants to know first: the audit's findings in a line each."""

from __future__ import annotations

from collections.abc import Iterator

from audit.report import Report
from datamodules.records import MECHANISMS
from metrics.estimates import Estimate

__all__ = ["add_summary"]

_SEEN = ("words of the response", "vectors of both")


def add_summary(report: Report) -> None:
    """Puts the findings at the head of the report.

    Args:
        report: With the values of all parts that were measured; what wasn't is left out.
    """
    report.summary += [*_quality(report.values), *_levels(report.values), *_privacy(report.values)]


def _quality(values: dict[str, Estimate]) -> Iterator[tuple[str, str]]:
    near = values["quality/synthetic/response_posts/near_repeats"]
    yield "Repeats", f"{100 * near.value:.1f} % of {near.n:,} responses repeat an earlier one, to the letter or nearly."
    ours, theirs = (values.get(f"quality/{side}/response_posts/self_bleu") for side in ("synthetic", "real"))
    if ours and theirs and "quality/coverage" in values:
        yield (
            "Variety",
            f"self-BLEU of the responses {ours.value:.2f}, of as many real ones {theirs.value:.2f}; "
            f"{100 * values['quality/coverage'].value:.0f} % of the real pairs have a synthetic one near them.",
        )
    told = {what: values.get(f"quality/detector/{what.replace(' ', '_')}_auc") for what in _SEEN}
    shown = [f"{found} by {what}" for what, found in told.items() if found]
    if shown:
        yield "Synthetic or real?", f"a classifier tells them apart with an area under the curve of {', '.join(shown)}."


def _levels(values: dict[str, Estimate]) -> Iterator[tuple[str, str]]:
    for who, name in (("label", "label"), ("trained model", "trained_model"), ("judge", "judge")):
        found = {m: values.get(f"quality/agreement/intended-{name}/{m}/accuracy") for m in MECHANISMS}
        shown = [f"{100 * same.value:.0f} % of {same.n:,} in {m}" for m, same in found.items() if same]
        if shown:
            yield f"Levels by the {who}", f"the intended one in {', '.join(shown)}."


def _privacy(values: dict[str, Estimate]) -> Iterator[tuple[str, str]]:
    if copied := values.get("privacy/copied_rows"):
        longest, close = values["privacy/longest_run"], values["privacy/near_copies"]
        yield (
            "Copying",
            f"{round(copied.value * copied.n):,} of {copied.n:,} rows repeat a long run of a real row's words (longest "
            f"{longest.value:.0f}); {100 * close.value:.1f} % lie closer to a real row than real rows do.",
        )
    attacks = {key.split("/")[2]: found for key, found in values.items() if key.startswith("privacy/membership/")}
    if attacks:
        worst = max(attacks.values(), key=lambda found: found.value)
        yield "Membership inference", f"the better attack has an area under the curve of {worst}."
    found = values["privacy/personal_data"]
    yield "Personal data", f"{round(found.value * found.n):,} of {found.n:,} rows hold what may point to one person."
