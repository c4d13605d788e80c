"""The bag-of-words baseline of the strategy classifier: TF-IDF of the last turns, logistic regression.

Same rows, split and metrics as `configs/strategy_small.yaml`; the regularisation is chosen on the validation rows.

    python benchmarks/strategy_baseline.py --esconv data/esconv/ESConv.json [--label_space strategies]
    python benchmarks/strategy_baseline.py --esconv data/esconv/ESConv.json --reddit data/epitome-reddit
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datamodules.contexts import ClassifierFormat, TurnEncoder
from datamodules.dialogue import DialogueDataModule
from lightning_modules.networks.responder import train_tokenizer
from metrics.strategies import StrategyRows, evaluate_strategies


class _Rows:
    """Says how rows are made; nothing of their tokens is used."""

    def row_rules(self, rule):
        return rule, rule

    def row_format(self, data, texts):
        return ClassifierFormat(TurnEncoder(train_tokenizer([""], 300)), 1, 2, 0, data.max_tokens, data.max_turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--esconv", nargs="+", required=True)
    parser.add_argument("--reddit")
    parser.add_argument("--test_on", default="esconv")
    parser.add_argument("--label_space", choices=("categories", "strategies"), default="categories")
    parser.add_argument("--turns", type=int, default=3, help="turns of the context read")
    options = parser.parse_args()
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    data = DialogueDataModule(
        esconv=options.esconv, reddit=options.reddit, test_on=options.test_on, label_space=options.label_space
    )
    data.setup_rows(_Rows())
    texts = [
        " ".join(
            f"{turn.speaker}begins {turn.text}"
            for turn in data.dialogues[row.dialogue].turns[max(0, row.turn - options.turns) : row.turn]
        )
        or "nothingbefore"
        for row in data.examples
    ]
    targets, gold, groups = data.targets(), data.targets(gold=True), data.row_groups
    prior = data.label_counts()

    def evaluated(model, split):
        rows = np.array(data.rows[split])
        probabilities = model.predict_proba([texts[row] for row in rows])
        best = np.eye(len(prior))[probabilities.argmax(axis=1)]
        return evaluate_strategies(
            StrategyRows(
                rows,
                groups[rows],
                probabilities,
                probabilities,
                best,
                targets[rows].astype(float),
                gold[rows].astype(float),
            ),
            prior,
        )

    train = data.rows["train"]
    models = []
    for strength in (0.03, 0.1, 0.3, 1.0, 3.0):
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            LogisticRegression(C=strength, max_iter=2000, class_weight="balanced"),
        )
        model.fit([texts[row] for row in train], targets[train].argmax(axis=1))
        models.append((evaluated(model, "validation")["f1_macro"].value, strength, model))
    _, strength, model = max(models, key=lambda entry: entry[0])
    scores = evaluated(model, "test")
    print(f"{len(train)} training rows, {len(data.rows['test'])} test rows, split {data.split_hash}, C {strength}")
    for key in ("accuracy", "accuracy_any", "f1_macro", "f1_weighted", "top3_accuracy", "preference_bias"):
        score, trivial = scores[key], scores[f"{key}_majority"]
        print(f"{key:<16}{score.value:.3f}  {score.low:.3f} - {score.high:.3f}   majority {trivial.value:.3f}")


if __name__ == "__main__":
    main()
