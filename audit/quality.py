"""Quality: do the rows repeat themselves, how varied are they, and can a machine tell them from real ones?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from audit.coverage import WORD, keyness
from audit.diversity import coverage, lexical_diversity, spread
from audit.duplicates import duplicate_groups
from audit.intervals import auc
from audit.material import Material, Part, first_half, second_half
from audit.report import Report, Section
from audit.words import Ints, Words, encode_words
from metrics.estimates import Estimate, wilson
from pages import Table

__all__ = ["add_detector", "add_diversity", "add_duplicates"]

_FOLDS = 5
_DETECTOR_ROWS = 3000
_DIVERSITY_ROWS = 1000


def add_duplicates(report: Report, material: Material) -> None:
    """Adds what repeats: within each side, and between synthetic and test rows."""
    rows: list[list[Any]] = []
    for side, part in material.sides.items():
        words = material.words(side)
        near = material.response_groups if side == "synthetic" else duplicate_groups(second_half(words))
        for name, texts, groups in (
            ("seeker posts", first_half(words), None),
            ("response posts", second_half(words), near),
            ("pairs", _joined(words), None),
        ):
            exact = _repeats(duplicate_groups(texts, None))
            repeated = _repeats(duplicate_groups(texts) if groups is None else groups)
            report.values[f"quality/{side}/{name.replace(' ', '_')}/exact_repeats"] = wilson(exact, len(part))
            report.values[f"quality/{side}/{name.replace(' ', '_')}/near_repeats"] = wilson(repeated, len(part))
            rows.append([f"{side}: {name}", len(part), exact, repeated, f"{100 * repeated / len(part):.1f} %"])
    section = Section(
        "Repeats",
        ["A row counts as a repeat when an earlier one says the same. Case, punctuation and white space don't count."],
    )
    section.blocks.append(
        Table(
            "Rows that repeat an earlier row of the same side",
            ["what", "rows", "exact", "exact or near", "share"],
            rows,
            "Near: Jaccard similarity of the sets of three-word shingles at least .8 (MinHash finds, exact sets "
            "decide). Real posts repeat where several people answer one post.",
        )
    )
    if "test" in material.sides:
        section.blocks.append(_contamination(report, material))
    report.sections.append(section)


def _contamination(report: Report, material: Material) -> Table:
    count = len(material.sides["test"])
    rows: list[list[Any]] = []
    for name, half in (("seeker posts", first_half), ("response posts", second_half)):
        together = _concatenated(half(material.words("test")), half(material.words("synthetic")))
        found = int((duplicate_groups(together)[count:] < count).sum())
        report.values[f"quality/test_contamination/{name.replace(' ', '_')}"] = wilson(found, len(material.synthetic))
        rows.append([name, len(material.synthetic), found])
    return Table(
        "Synthetic rows that repeat a test row",
        ["what", "rows", "exact or near"],
        rows,
        "Such rows must not train a model that these test rows judge; training's leakage guard refuses them too.",
    )


def _repeats(groups: Ints) -> int:
    return int((groups != np.arange(len(groups))).sum())


def _concatenated(one: Words, two: Words) -> Words:
    return Words(np.concatenate([one.codes, two.codes]), np.concatenate([one.starts, two.starts[1:] + len(one.codes)]))


def _joined(words: Words) -> Words:
    """Each row's post and response as one text."""
    count = len(words) // 2
    rows = np.concatenate([words.owners[: words.starts[count]], words.owners[words.starts[count] :] - count])
    order = np.argsort(rows, kind="stable")
    return Words(words.codes[order], np.searchsorted(rows[order], np.arange(count + 1)).astype(np.int64))


def add_diversity(report: Report, material: Material) -> None:
    """Adds how varied the wording and the meaning of both sides are, measured on samples of one size."""
    parts = {side: part.first(_DIVERSITY_ROWS, material.seed) for side, part in material.same_size().items()}
    section = Section("Diversity")
    responses = {side: (part.rows.responses, part.responses) for side, part in parts.items()}
    posts = {side: (part.rows.posts, part.posts) for side, part in parts.items()}
    for field, sides in (("response posts", responses), ("seeker posts", posts)):
        budget = min(len(encode_words(texts).codes) for texts, _ in sides.values())
        scores = {
            side: lexical_diversity(_shuffled(texts, material.seed), budget) | spread(vectors)
            for side, (texts, vectors) in sides.items()
        }
        for side, each in scores.items():
            for key, value in each.items():
                report.values[f"quality/{side}/{field.replace(' ', '_')}/{key}"] = Estimate(value, n=len(parts[side]))
        count = len(next(iter(parts.values())))
        section.blocks.append(
            Table(
                f"Diversity of {field}",
                ["measure", *parts],
                [[label, *(scores[side][key] for side in parts)] for key, label in _MEASURES.items()],
                f"{count:,} texts of each side; n-grams and compression on {budget:,} words of each. Vectors: "
                f"{material.vectoriser.name}.",
            )
        )
    if "real" in parts:
        _add_coverage(report, material, section)
    report.sections.append(section)


_MEASURES = {
    "distinct_1": "distinct words per word",
    "distinct_2": "distinct 2-grams per 2-gram",
    "distinct_3": "distinct 3-grams per 3-gram",
    "compression_ratio": "compression ratio (lower: more varied)",
    "self_bleu": "self-BLEU (lower: more varied)",
    "mean_distance": "mean distance of two texts",
    "nearest_distance": "mean distance to the nearest text",
    "vendi": "effective number of texts per text (Vendi)",
}


def _add_coverage(report: Report, material: Material, section: Section) -> None:
    parts = material.same_size()
    real = parts["real"]
    covered = coverage(real.pairs, parts["synthetic"].pairs, real.rows.groups)
    report.values["quality/coverage"] = Estimate(covered, n=len(real))
    section.text.append(
        f"Of {len(real):,} real pairs {100 * covered:.0f} % have a synthetic pair as near as their fifth real "
        "neighbour; of rows from one and the same source it would be about 97 %."
    )


def _shuffled(texts: Sequence[str], seed: int) -> list[str]:
    return [texts[row] for row in np.random.default_rng(seed).permutation(len(texts))]


def add_detector(report: Report, material: Material) -> None:
    """Adds how well a simple classifier tells synthetic from real rows, on rows it was not fitted to."""
    parts = {side: part.first(_DETECTOR_ROWS, material.seed) for side, part in material.same_size().items()}
    synthetic, real = parts["synthetic"], parts["real"]
    labels = np.repeat([1, 0], [len(synthetic), len(real)])
    groups = [f"s {group}" for group in synthetic.rows.groups] + [f"r {group}" for group in real.rows.groups]
    material.note("telling synthetic from real rows")
    rows: list[list[Any]] = []
    for name, features in _features(synthetic, real):
        scores = _held_out_scores(features, labels, groups)
        if scores is None:
            continue
        found = auc(scores[labels == 1], scores[labels == 0])
        report.values[f"quality/detector/{name.replace(' ', '_')}_auc"] = found
        rows.append([name, found])
    if not rows:
        report.sections.append(Section("Synthetic or real?", [f"Fewer than {_FOLDS} independent rows of a side."]))
        return
    section = Section(
        "Synthetic or real?",
        [
            "A logistic regression is fitted to part of the rows and asked about the others (five folds, no seeker "
            "post on both sides). Area under the curve: .5 is guessing, 1 is certain. A high one means that the rows "
            "carry a mark of their own, which a model may learn in place of empathy."
        ],
        [
            Table(
                "Telling synthetic from real rows",
                ["what it sees", "area under the curve (95 % interval)"],
                rows,
                f"{len(synthetic):,} rows of each side.",
            )
        ],
    )
    section.blocks.append(_telltales(synthetic, real))
    report.sections.append(section)


def _features(synthetic: Part, real: Part) -> list[tuple[str, Any]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    def counts(texts: list[str]) -> Any:
        return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=50_000).fit_transform(texts)

    posts = [*synthetic.rows.posts, *real.rows.posts]
    responses = [*synthetic.rows.responses, *real.rows.responses]
    lengths = np.log([[len(post.split()), len(text.split())] for post, text in zip(posts, responses, strict=True)])
    return [
        ("words of the response", counts(responses)),
        ("words of the seeker post", counts(posts)),
        ("vectors of both", np.vstack([synthetic.pairs, real.pairs])),
        ("lengths alone", lengths),
    ]


def _held_out_scores(features: Any, labels: Ints, groups: Sequence[str]) -> Any:
    """[N] log-odds of being synthetic from models that didn't see the row; None where folds can't be made."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    if min(len(set(numbers[labels == kind].tolist())) for kind in (0, 1)) < _FOLDS:
        return None
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    model = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    return cross_val_predict(model, features, labels, groups=numbers, cv=folds, method="decision_function")


def _telltales(synthetic: Part, real: Part) -> Table:
    """The words that give the sides away, of the sides whose words may be shown."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, min_df=5, token_pattern=WORD)
    rows: list[list[Any]] = []
    try:
        present = counter.fit_transform([*synthetic.rows.responses, *real.rows.responses])
    except ValueError:  # no word in five responses
        present = None
    if present is not None:
        words = counter.get_feature_names_out()
        order = np.argsort(-keyness(present[: len(synthetic)], present[len(synthetic) :]))
        for side, part, best in (("synthetic", synthetic, order[:15]), ("real", real, order[::-1][:15])):
            shown = ", ".join(words[best]) if part.rows.quotable else "(not shown: clinical text)"
            rows.append([side, shown])
    return Table("Words of the response that give a side away", ["side", "words"], rows)
