"""Coverage: do the rows have the topics, lengths and levels that real ones have?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.figures import bars, histogram
from audit.material import Material, Part
from audit.report import Figure, Report, Section
from audit.vectors import Vectors
from audit.words import Ints
from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS
from metrics.estimates import Estimate, wilson
from pages import Table

__all__ = ["WORD", "add_coverage", "divergence", "keyness"]

WORD = r"(?<![\w'’])[^\W\d_]{2,}(?![\w'’])"
"""What counts as a word where words are shown: letters alone, no part of a contraction."""

_MOST_TOPICS, _ROWS_A_TOPIC = 20, 25
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def add_coverage(report: Report, material: Material) -> None:
    """Adds topics, lengths and levels, beside the real rows' where there are any."""
    section = Section("Topics, lengths and levels")
    if "real" in material.parts:
        _add_topics(report, material, section)
    _add_lengths(report, material, section)
    _add_levels(report, material, section)
    report.sections.append(section)


def divergence(one: Ints, two: Ints, count: int) -> float:
    """Jensen-Shannon divergence of two samples' topics in bits: 0 the same shares, 1 no topic in common.

    Args:
        one: [N] topics.
        two: [K] topics.
        count: Number of topics.
    """
    shares = [np.bincount(topics, minlength=count) / len(topics) for topics in (one, two)]
    middle = (shares[0] + shares[1]) / 2
    total = 0.0
    for each in shares:
        there = each > 0
        total += float((each[there] * np.log2(each[there] / middle[there])).sum()) / 2
    return max(total, 0.0)


def _add_topics(report: Report, material: Material, section: Section) -> None:
    material.note("topics of the seeker posts")
    parts = material.same_size()
    synthetic, real = parts["synthetic"], parts["real"]
    count = min(_MOST_TOPICS, max(2, len(real) // _ROWS_A_TOPIC))
    vectors = np.vstack([synthetic.posts, real.posts])
    topics = _clusters(vectors, count, material.seed)
    ours, theirs = topics[: len(synthetic)], topics[len(synthetic) :]
    measured = divergence(ours, theirs, count)
    generator = np.random.default_rng(material.seed)
    chance = []
    for _ in range(100):
        mixed = generator.permutation(topics)
        chance.append(divergence(mixed[: len(ours)], mixed[len(ours) :], count))
    report.values["quality/topics/divergence"] = Estimate(measured, n=len(topics))
    report.values["quality/topics/divergence_by_chance"] = Estimate(float(np.quantile(chance, 0.95)), n=len(topics))
    shares = {
        "synthetic": np.bincount(ours, minlength=count) / len(ours),
        "real": np.bincount(theirs, minlength=count) / len(theirs),
    }
    missing = int(((shares["synthetic"] == 0) & (shares["real"] > 0)).sum())
    section.text.append(
        f"{count} topics by k-means over seeker posts ({len(ours):,} of each side). Divergence of their shares: "
        f"{measured:.3f} bits; two random halves of these rows stay below {np.quantile(chance, 0.95):.3f} in 95 of 100 "
        f"draws. Topics without a synthetic row: {missing}."
    )
    names = _topic_names(parts, topics, count)
    order = np.argsort(-shares["real"], kind="stable")
    section.blocks.append(
        Figure(
            "Topics of seeker posts",
            bars([names[i] for i in order], {side: each[order].tolist() for side, each in shares.items()}, "topics"),
            "Share of each side's seeker posts by topic, the topics named by words that stand out in them.",
        )
    )
    section.blocks.append(
        Table(
            "Topics of seeker posts",
            ["topic", "synthetic", "real"],
            [[names[i], float(shares["synthetic"][i]), float(shares["real"][i])] for i in order],
        )
    )


def _clusters(vectors: Vectors, count: int, seed: int) -> Ints:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(count, n_init=4, random_state=seed).fit_predict(vectors), dtype=np.int64)


def _topic_names(parts: dict[str, Part], topics: Ints, count: int) -> list[str]:
    """Names topics by the words that are more frequent in them than elsewhere, of sides that may be quoted."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [text if part.rows.quotable else "" for part in parts.values() for text in part.rows.posts]
    names = [f"topic {topic + 1}" for topic in range(count)]
    counter = CountVectorizer(binary=True, stop_words="english", min_df=3, token_pattern=WORD)
    try:
        present = counter.fit_transform(texts)
    except ValueError:  # nothing may be quoted, or no word is frequent enough
        return names
    words = counter.get_feature_names_out()
    for topic in range(count):
        inside, outside = present[topics == topic], present[topics != topic]
        best = keyness(inside, outside)
        shown = [str(words[word]) for word in np.argsort(-best)[:3] if best[word] > 1]
        names[topic] = ", ".join(shown) or names[topic]
    return names


def keyness(inside: Any, outside: Any) -> NDArray[np.float64]:
    """How much more often each word occurs in some texts than in others, as a z score.

    Args:
        inside: [N, W] sparse, whether text i has word j.
        outside: [K, W] the same of the other texts.

    Returns:
        [W] log ratio of the shares of texts that have the word, by its standard error.
    """
    ours, theirs = (np.asarray(part.sum(0), dtype=np.float64).ravel() + 0.5 for part in (inside, outside))
    ratio = np.log(ours / (inside.shape[0] + 1)) - np.log(theirs / (outside.shape[0] + 1))
    score: NDArray[np.float64] = ratio / np.sqrt(1 / ours + 1 / theirs)
    return score


def _add_lengths(report: Report, material: Material, section: Section) -> None:
    rows: list[list[Any]] = []
    for field, half in (("seeker post", 0), ("response post", 1)):
        lengths: dict[str, NDArray[np.int64]] = {}
        for side, part in material.sides.items():
            words = material.words(side).lengths
            lengths[side] = words[half * len(part) :][: len(part)]
            rows.append([f"{field}, {side}", *(int(value) for value in np.quantile(lengths[side], _QUANTILES))])
        section.blocks.append(
            Figure(
                f"Length of the {field}",
                histogram({side: np.maximum(each, 1) for side, each in lengths.items()}, "words", log=True),
                f"Share of rows by words of the {field}, steps of equal ratio.",
            )
        )
        if "real" in lengths:
            from scipy.stats import ks_2samp

            gap = float(ks_2samp(lengths["synthetic"], lengths["real"]).statistic)
            key = f"quality/lengths/{field.replace(' ', '_')}_gap"
            report.values[key] = Estimate(gap, n=len(lengths["synthetic"]) + len(lengths["real"]))
            section.text.append(
                f"Lengths of the {field}: largest gap between the two cumulative distributions {gap:.2f} "
                "(0 the same, 1 wholly apart)."
            )
    columns = ["words", *(f"{100 * q:.0f} %" for q in _QUANTILES)]
    section.blocks.append(Table("Lengths in words", columns, rows, "Quantiles."))


def _add_levels(report: Report, material: Material, section: Section) -> None:
    rows: list[list[Any]] = []
    for mechanism in MECHANISMS:
        for side, part in material.sides.items():
            levels = [pair.levels[mechanism] for pair in part.pairs if mechanism in pair.levels]
            counts = [levels.count(level) for level in LEVELS]
            for level, count in zip(LEVELS, counts, strict=True):
                key = f"quality/{side}/{mechanism}/level_{LEVEL_NAMES[level]}"
                report.values[key] = wilson(count, len(levels))
            shown = [f"{count:,} ({100 * count / len(levels):.0f} %)" if levels else "–" for count in counts]
            rows.append([f"{mechanism}, {side}", len(levels), *shown])
    section.blocks.append(
        Table(
            "Levels",
            ["mechanism", "labelled rows", *LEVEL_NAMES],
            rows,
            "Of synthetic rows: the levels that they carry, whatever their prompts asked for.",
        )
    )
