"""What a bag of words scores: the floor that a model of the bundled corpus has to beat.

    python benchmarks/bag_of_words.py [PAIRS.jsonl]

A logistic regression over word and word-pair weights (tf-idf) of the response alone, a model a mechanism, level by
level weighted to balance. Five folds, divided by group, so that no seeker post is on both sides; the predictions of the
five test parts are scored together. Beside it the constant that always answers with the most frequent level.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1]))
from datamodules.records import MECHANISMS, Mechanism, Pair
from datamodules.splits import group_rows
from quickstart import PAIRS

FOLDS = 5
SEED = 12


@dataclass(frozen=True)
class Score:
    """Accuracy and macro-F1 of the bag of words and of the most frequent level, over all rows out of fold."""

    rows: int
    accuracy: float
    f1_macro: float
    majority_accuracy: float
    majority_f1_macro: float


def score(pairs: Sequence[Pair], mechanism: Mechanism) -> Score:
    """Cross-validates one mechanism over the rows that are annotated with it."""
    rows = [pair for pair in pairs if mechanism in pair.levels]
    levels = [pair.levels[mechanism] for pair in rows]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|\?"),
        LogisticRegression(C=10, class_weight="balanced", max_iter=2000),
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    texts = [pair.response_post for pair in rows]
    with threadpool_limits(1):  # products this small cost eight times the time on two threads
        predicted = cross_val_predict(model, texts, levels, groups=group_rows(rows), cv=folds)
    majority = [Counter(levels).most_common(1)[0][0]] * len(levels)
    return Score(
        rows=len(rows),
        accuracy=float(accuracy_score(levels, predicted)),
        f1_macro=float(f1_score(levels, predicted, average="macro")),
        majority_accuracy=float(accuracy_score(levels, majority)),
        majority_f1_macro=float(f1_score(levels, majority, average="macro")),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    arguments = sys.argv[1:] if argv is None else argv
    file = Path(arguments[0]) if arguments else PAIRS
    pairs = [Pair(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    print(f"{file}: bag of words, {FOLDS} folds by group, seed {SEED}")
    print(f"{'mechanism':<22}{'rows':>6}{'accuracy':>10}{'macro-F1':>10}   most frequent level: accuracy, macro-F1")
    for mechanism in MECHANISMS:
        s = score(pairs, mechanism)
        print(
            f"{mechanism:<22}{s.rows:>6}{s.accuracy:>10.3f}{s.f1_macro:>10.3f}"
            f"   {s.majority_accuracy:.3f}, {s.majority_f1_macro:.3f}"
        )


if __name__ == "__main__":
    main()
