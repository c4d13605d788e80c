"""Privacy: do synthetic rows give away the real rows that they were made from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.canaries import Canary, bigram_scores, exposures, said_aloud
from audit.figures import histogram
from audit.intervals import auc
from audit.material import Material
from audit.overlap import Overlap, shared_runs
from audit.personal_data import IDENTIFYING, Finder, find_personal_data
from audit.report import Check, Figure, Report, Section
from audit.vectors import nearest
from audit.words import Ints, encode_words
from metrics.estimates import Estimate, wilson
from pages import Table

__all__ = ["Limits", "add_privacy"]

_NUMBERS = "Real rows by number, counted from 1 over all of their files: ids of a clinical table may name people."


@dataclass
class Limits:
    """What the gate accepts.

    Args:
        run: A synthetic row that shares this many consecutive words with a real row fails. Of 2,440 unrelated posts and
            the answers to them, few share more than 8 words by chance and hardly any 12.
        close: Share of synthetic rows that may lie nearer to a real row than the nearest hundredth of the real rows lie
            to each other; fails when the interval lies above it.
        membership: The upper end of the interval of a membership attack's area under the curve.
    """

    run: int = 12
    close: float = 0.01
    membership: float = 0.60


@dataclass
class _Work:
    report: Report
    material: Material
    limits: Limits
    section: Section
    suspects: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def add_privacy(
    report: Report, material: Material, *, canaries: Sequence[Canary], finders: Sequence[Finder], limits: Limits
) -> NDArray[np.bool_]:
    """Adds the privacy part and the gate's checks.

    It quotes no text of any row, only lengths, ids of synthetic rows and numbers of real ones.

    Args:
        report: Gets a section, values and checks.
        material: The rows.
        canaries: Made-up secrets, used and unused; may be empty.
        finders: What searches for personal data.
        limits: What the gate accepts.

    Returns:
        [N] the synthetic rows that hold copied text or personal data.
    """
    work = _Work(report, material, limits, Section("Privacy"), np.zeros(len(material.synthetic), dtype=np.bool_))
    _check_real(work)
    _add_overlap(work)
    _add_neighbours(work)
    _add_membership(work)
    _add_canaries(work, canaries)
    _add_personal_data(work, finders)
    report.sections.append(work.section)
    return work.suspects


def _check_real(work: _Work) -> None:
    made = work.material.synthetic.clinical_prompts
    if made:
        real = work.material.real
        given = real.clinical if real else 0
        found = f"{made:,} rows from prompts with clinical text, {given:,} clinical real rows to compare with"
        work.report.checks.append(Check("clinical rows compared", given > 0, found, "the clinical rows of the prompts"))


def _longest(overlap: Overlap, rows: int) -> tuple[Ints, Ints]:
    """[N] longest run of each row, that of the text of it which has the longest, and the text that holds it."""
    lengths = overlap.length.reshape(-1, rows)
    better = lengths.argmax(0)
    numbers = np.arange(rows)
    return lengths[better, numbers], overlap.other.reshape(-1, rows)[better, numbers]


def _add_overlap(work: _Work) -> None:
    material, limits = work.material, work.limits
    if material.real is None:
        work.report.checks.append(Check("copied text", None, "no real rows given", f"no run of {limits.run} words"))
        return
    material.note("longest runs of words that synthetic and real rows share")
    overlap = shared_runs(material.everything("synthetic"), material.everything("real"))
    runs, others = _longest(overlap, len(material.synthetic))
    compared = {"synthetic and real": runs, **_reference_runs(material)}
    copied = np.flatnonzero(runs >= limits.run)
    work.suspects[copied] = True
    work.report.values["privacy/longest_run"] = Estimate(float(runs.max()), n=len(runs))
    work.report.values["privacy/copied_rows"] = wilson(len(copied), len(runs))
    for n in (3, 5, 8):
        work.report.values[f"privacy/shared_{n}_grams"] = Estimate(overlap.shared.get(n, 0.0), n=len(runs))
    wanted = f"no run of {limits.run} words or more"
    found = f"{len(copied):,} rows; longest run {int(runs.max())} words"
    work.report.checks.append(Check("copied text", not len(copied), found, wanted))
    quantiles: list[list[Any]] = [
        [name, len(each), *(int(np.quantile(each, q)) for q in (0.5, 0.95, 0.99)), int(each.max())]
        for name, each in compared.items()
    ]
    shown = copied[np.argsort(-runs[copied], kind="stable")][:10]
    count = len(material.real)
    work.section.text.append(
        f"Verbatim copying: {len(copied):,} of {len(runs):,} synthetic rows share {limits.run} or more consecutive "
        f"words with a real row. Of their 5-grams {100 * overlap.shared.get(5, 0):.2f} % stand in a real row, of their "
        f"8-grams {100 * overlap.shared.get(8, 0):.3f} %."
    )
    work.section.blocks += [
        Figure(
            "Longest run of shared words",
            histogram(compared, "words", bins=50),
            "Share of rows by the longest run of consecutive words that also stands in the other rows.",
        ),
        Table("Longest run of shared words", ["rows", "count", "median", "95 %", "99 %", "longest"], quantiles),
    ]
    if len(shown):
        ids = [[material.synthetic.pairs[i].uid, int(runs[i]), int(others[i]) % count + 1] for i in shown]
        columns = ["synthetic row", "words", "real row"]
        work.section.blocks.append(Table("Rows that copy most", columns, ids, _NUMBERS))


def _reference_runs(material: Material) -> dict[str, Ints]:
    """What real rows share with other real rows: no synthetic row should share more."""
    assert material.real is not None
    if material.test is not None:
        overlap = shared_runs(material.everything("test"), material.everything("real"))
        return {"test and real": _longest(overlap, len(material.test))[0]}
    numbers = np.unique(np.asarray(material.real.groups), return_inverse=True)[1]
    halves = [material.real.take(np.flatnonzero(numbers % 2 == side)) for side in (0, 1)]
    if not all(map(len, halves)):
        return {}
    overlap = shared_runs(*(encode_words(half.texts) for half in halves))
    return {"one half of real and the other": _longest(overlap, len(halves[0]))[0]}


def _add_neighbours(work: _Work) -> None:
    parts = work.material.parts
    if "real" not in parts:
        work.report.checks.append(Check("near copies", None, "no real rows given", "no more than real rows have"))
        return
    synthetic, real = parts["synthetic"], parts["real"]
    ours, rows = nearest(synthetic.pairs, real.pairs)
    theirs, _ = nearest(real.pairs, real.pairs, groups=real.rows.groups)
    limit = float(np.quantile(theirs[:, 0], 0.99))
    close = ours[:, 0] > limit
    found = wilson(int(close.sum()), len(synthetic))
    work.report.values["privacy/near_copies"] = found
    work.report.checks.append(
        Check(
            "near copies",
            found.low <= work.limits.close,
            f"{100 * found.value:.1f} % of {len(synthetic):,} rows ({100 * found.low:.1f} to {100 * found.high:.1f} %)",
            f"not above {100 * work.limits.close:.0f} %",
        )
    )
    work.section.text.append(
        f"Neighbours: {int(close.sum()):,} of {len(synthetic):,} synthetic rows lie nearer to a real row than the "
        f"nearest hundredth of the real rows lie to one of another seeker post (similarity above {limit:.2f})."
    )
    work.section.blocks.append(
        Figure(
            "Similarity to the nearest real row",
            histogram({"synthetic rows": ours[:, 0], "real rows": theirs[:, 0]}, "cosine similarity"),
            "Share of rows by similarity to the most similar real row of another seeker post. Rows made of real ones "
            "sit further to the right than the real ones do.",
        )
    )
    nearest_rows = np.argsort(-ours[:, 0], kind="stable")[: min(10, int(close.sum()))]
    if len(nearest_rows):
        cells = [
            [synthetic.rows.pairs[i].uid, float(ours[i, 0]), int(real.numbers[rows[i, 0]]) + 1] for i in nearest_rows
        ]
        columns = ["synthetic row", "similarity", "real row"]
        work.section.blocks.append(Table("Nearest rows", columns, cells, _NUMBERS))


def _add_membership(work: _Work) -> None:
    parts = work.material.parts
    wanted = f"upper end at most {work.limits.membership:.2f}"
    if "real" not in parts or "test" not in parts:
        missing = "real" if "real" not in parts else "test"
        work.report.checks.append(Check("membership inference", None, f"no {missing} rows given", wanted))
        return
    work.material.note("membership inference")
    members, others, synthetic = parts["real"], parts["test"], parts["synthetic"]
    texts = work.material.everything("synthetic")
    attacks: dict[str, list[NDArray[Any]]] = {
        "similarity to the nearest synthetic row": [
            nearest(part.pairs, synthetic.pairs)[0][:, 0] for part in (members, others)
        ],
        "longest run shared with a synthetic row": [
            _longest(shared_runs(encode_words(part.rows.texts), texts), len(part))[0] for part in (members, others)
        ],
    }
    rows: list[list[Any]] = []
    worst = 0.0
    for name, (inside, outside) in attacks.items():
        found = work.report.values[f"privacy/membership/{name.split()[0]}_auc"] = auc(inside, outside)
        worst = max(worst, found.high)
        rows.append([name, found])
    passed = worst <= work.limits.membership
    work.report.checks.append(Check("membership inference", passed, f"upper end {worst:.2f}", wanted))
    work.section.blocks.append(
        Table(
            "Membership inference",
            ["the attacker looks at", "area under the curve (95 % interval)"],
            rows,
            f"Can one tell the {len(members):,} real rows, which rows were made from, from {len(others):,} test rows, "
            "which none was made from? .5: no. It means something only where both kinds come from one source.",
        )
    )


def _add_canaries(work: _Work, canaries: Sequence[Canary]) -> None:
    if not canaries:
        return
    words = work.material.everything("synthetic")
    used = np.array([canary.inserted for canary in canaries])
    said = said_aloud(canaries, words) & used
    scores = bigram_scores(encode_words(canary.text for canary in canaries), words)
    bits = exposures(scores[used], scores[~used])
    told = auc(scores[used], scores[~used])
    work.report.values["privacy/canaries/said_aloud"] = wilson(int(said.sum()), int(used.sum()))
    work.report.values["privacy/canaries/exposure_mean"] = Estimate(float(np.mean(bits)), n=len(bits))
    work.report.values["privacy/canaries/exposure_max"] = Estimate(max(bits), n=len(bits))
    work.report.values["privacy/canaries/auc"] = told
    work.report.checks.append(
        Check(
            "canaries",
            not said.any() and told.low <= 0.5,
            f"{int(said.sum())} of {len(bits)} said aloud; area under the curve {told}",
            "none said aloud, and none likelier than unused ones",
        )
    )
    work.section.blocks.append(
        Table(
            "Canaries",
            ["measure", "found"],
            [
                ["secrets said aloud", f"{int(said.sum())} of {len(bits)}"],
                ["mean exposure in bits (1.44 by chance)", float(np.mean(bits))],
                ["largest exposure in bits", float(max(bits))],
                ["used against unused ones, area under the curve", told],
            ],
            f"Exposure: how high a secret ranks among {int((~used).sum()):,} unused ones by a bigram model of "
            "the rows.",
        )
    )


def _add_personal_data(work: _Work, finders: Sequence[Finder]) -> None:
    material = work.material
    material.note("personal data")
    pairs, texts = material.synthetic.pairs, material.synthetic.texts
    real = material.real
    findings = find_personal_data(
        [texts[number :: len(pairs)] for number in range(len(pairs))],
        real.texts if real else [],
        finders,
    )
    identifying = findings.identifying_rows
    work.suspects[identifying] = True
    work.report.values["privacy/personal_data"] = wilson(len(identifying), len(pairs))
    found = f"{len(identifying):,} rows"
    work.report.checks.append(Check("personal data", not identifying, found, "none that points to one person"))
    searched = work.report.facts.get("personal data", "built-in patterns")
    rows: list[list[Any]] = []
    for kind, numbers in sorted(findings.rows.items()):
        first = ", ".join(pairs[number].uid for number in numbers[:3])
        gated = "yes" if kind in IDENTIFYING else "no"
        rows.append([kind, len(numbers), findings.also_real[kind] if real else "–", gated, first])
    work.section.blocks.append(
        Table(
            "Personal data",
            ["kind", "rows", "also in a real row", "gated", "first rows"],
            rows or [["none found", 0, 0, "–", "–"]],
            f"Searched with {searched}. Names and places are counted, not gated: invented people have names too; look "
            "at those that a real row has as well.",
        )
    )
