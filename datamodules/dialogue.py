"""The DataModule of the strategy tasks: dialogues of several sources, split, mixed and cut to windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from datamodules.contexts import ClassifierFormat, ClassifierRow, ResponderFormat, ResponderRow
from datamodules.dialogue_batches import ResponderCollator, StrategyCollator
from datamodules.dialogue_mixing import mix_turn_rows
from datamodules.dialogue_sources import read_sources
from datamodules.dialogue_splits import DialogueSplit, divide
from datamodules.dialogues import Dialogue
from datamodules.files import as_list
from datamodules.loaders import SplitLoaders
from datamodules.manifest import build_manifest
from datamodules.mixing import Mix, MixOptions
from datamodules.parts import Leakage, Parts
from datamodules.records import Source
from datamodules.splits import Leak, SplitName, find_leaks, group_rows, number_names
from datamodules.strategies import LabelSpace, Overlap, load_scheme
from datamodules.turn_rows import RowRule, TurnRow, as_pair, count_labels, rows_hash, rows_of
from errors import UserError

__all__ = ["DialogueDataModule", "RowFormat", "TurnModel"]

RowFormat = ClassifierFormat | ResponderFormat
TestOn = Literal["esconv", "reddit", "clinical", "synthetic", "all"]


class TurnModel(Protocol):
    """What the DataModule asks of a model."""

    def row_rules(self, rule: RowRule) -> tuple[RowRule, RowRule]:
        """How turns become rows that train, and rows that evaluate."""

    def row_format(self, data: DialogueDataModule, texts: Callable[[], Iterable[str]]) -> RowFormat:
        """What a row looks like to the model; `texts` gives the training split's turns to a tokenizer's trainer."""


class DialogueDataModule(SplitLoaders):
    """Supporter turns with the dialogue before them, from ESConv, Reddit, clinical and synthetic sources.

    A row is a supporter turn, its label what the scheme makes of its strategy; Reddit pairs are dialogues of two turns.
    Which rows do what: the source that `test_on` names has a test share; clinical rows test as a whole where other
    sources train and `test_on` names them or `all`, and train otherwise. Validation rows are a share of every source
    that trains. Synthetic rows only train, unless they are the only source or `test_on: synthetic` asks for it.

    Args:
        esconv: Files of ESConv: ESConv.json, FailedESConv.json, the hub's; see `cli.py prepare esconv`.
        reddit: Folder with the three EPITOME files (see `cli.py prepare epitome`).
        synthetic: Files of synthetic dialogues or pairs, one or several generators.
        clinical: Files of clinical dialogues or pairs. Their text never reaches a log, a tracker, an error message or
            predictions.
        test_on: The source whose rows are tested; `all`: a test share of every real source. Null: the first given of
            esconv, reddit, clinical, synthetic.
        label_space: What is predicted and tagged: the scheme's `categories`, or ESConv's eight `strategies`.
        overlap: What becomes of a turn of several categories: a row for `each`, one at `random`, the first by
            `priority`, or all in one row as a `multi`-label target.
        scheme: A YAML with another scheme; null: study B's four categories.
        merge_turns: Join consecutive turns of one speaker (but for turns of unlike strategies).
        max_turns: Turns of the context read at most; null: as many as fit.
        max_tokens: Window in tokens: context, special tokens and, for the responder, the response.
        split: How dialogues are divided.
        mix: How synthetic and other rows join the training rows; counts are rows, balanced by label.
        leakage: What to do about a training dialogue that belongs together with an evaluation dialogue (same text, same
            group, near-duplicate): stop with an `error`, `drop` the training dialogue, or `report`.
        batch_size: Training rows a step, over all devices together.
        evaluation_batch_size: Rows in an evaluation batch.
        bucketed: Whether batches hold rows of similar length.
        packed: Responder: put short rows behind one another instead of padding them; the loss is the same.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
    """

    def __init__(
        self,
        esconv: str | list[str] | None = None,
        reddit: str | None = None,
        synthetic: str | list[str] | None = None,
        clinical: str | list[str] | None = None,
        test_on: TestOn | None = None,
        label_space: LabelSpace = "categories",
        overlap: Overlap = "each",
        scheme: str | None = None,
        merge_turns: bool = False,
        max_turns: int | None = None,
        max_tokens: int = 256,
        split: DialogueSplit | None = None,
        mix: MixOptions | None = None,
        leakage: Leakage = "error",
        batch_size: int = 32,
        evaluation_batch_size: int = 64,
        bucketed: bool = True,
        packed: bool = True,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, evaluation_batch_size, bucketed=bucketed, num_workers=num_workers)
        self.files: dict[Source, list[str]] = {
            "esconv": as_list(esconv),
            "reddit": as_list(reddit),
            "clinical": as_list(clinical),
            "synthetic": as_list(synthetic),
        }
        self.split: DialogueSplit = split or DialogueSplit()
        self.mix = mix or MixOptions()
        self.label_space: LabelSpace = label_space
        self.overlap: Overlap = overlap
        self.scheme = load_scheme(scheme)
        self.merge_turns = merge_turns
        self.max_turns = max_turns
        self.max_tokens = max_tokens
        self.leakage: Leakage = leakage
        self.packed = packed
        given: list[Source] = [source for source, files in self.files.items() if files]
        if not given:
            raise UserError("no data: give at least one of " + ", ".join(f"--data.{source}" for source in self.files))
        self.test_on: TestOn = test_on or given[0]
        if self.test_on != "all" and not self.files[self.test_on]:
            raise UserError(
                f"--data.test_on {self.test_on}, as given or in a config: no {self.test_on} rows are given "
                f"(--data.{self.test_on}); the given ones are tested with --data.test_on {' or '.join(given)}"
            )
        if self.split.by == "published" and len(self.files["esconv"]) != 1:
            raise UserError("--data.split.by published needs exactly one --data.esconv file: the whole ESConv.json")
        if self.split.by_files and not self.files["esconv"]:
            raise UserError("--data.split files are of ESConv's format and need --data.esconv: the files that train")
        self.dialogues: list[Dialogue] = []
        self.examples: list[TurnRow] = []

    @property
    def labels(self) -> tuple[str, ...]:
        """The K labels."""
        return self.scheme.names(self.label_space)

    @property
    def split_hash(self) -> str:
        """The test set's name; numbers of runs with unlike ones don't compare."""
        return rows_hash(self.examples, self.rows["test"])

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits, guards, mixes and cuts to windows; once, whatever the stage."""
        assert self.trainer is not None
        if not self.rows:
            self.setup_rows(self.trainer.lightning_module)  # type: ignore[arg-type]

    def setup_rows(self, model: TurnModel) -> None:
        """The same for a model without a trainer."""
        sources = read_sources(self.files, self.split, merge=self.merge_turns, categories=self.scheme.categories)
        self.dialogues, self._placed = sources.dialogues, sources.placed
        dropped: Counter[str] = Counter()
        parts = self._divide()
        leaks = find_leaks(
            *([as_pair(self.dialogues[number]) for number in some] for some in (parts.training, parts.evaluating))
        )
        if leaking := parts.guard(self.dialogues, leaks, self.leakage, "dialogue"):
            dropped["dialogue that belongs together with an evaluation dialogue"] += leaking
        training, evaluating = model.row_rules(
            RowRule(self.scheme, self.label_space, self.overlap, labelled=True, seed=self.split.seed)
        )
        base = self._rows(parts.base, training, dropped)
        synthetic = self._rows(parts.synthetic, training, dropped)
        self._check_labels(training, parts.training)
        mix = mix_turn_rows(self.examples, base, synthetic, self.mix)
        self.rows = {"train": mix.rows}
        for name, members in parts.evaluation.items():
            self.rows[name] = self._rows(members, evaluating, dropped)
        self.set_format(model.row_format(self, self._training_texts))
        self.manifest = self._describe(mix, sources.reports, dropped, leaks)

    def _tests(self, source: Source) -> bool:
        return self.test_on == source or (self.test_on == "all" and source != "synthetic")

    def _divide(self) -> Parts:
        real = any(self.files[source] for source in ("esconv", "reddit", "clinical"))
        ratio = self.mix.weights or {}
        others_train = ratio or self.files["esconv"] or self.files["reddit"] or self.test_on == "synthetic"
        parts = Parts()
        by_source: dict[Source, list[int]] = {}
        for number, dialogue in enumerate(self.dialogues):
            by_source.setdefault(dialogue.source, []).append(number)
        self.groups = [dialogue.uid for dialogue in self.dialogues]
        for source, members in by_source.items():
            if source == "synthetic" and real and self.test_on != "synthetic":
                parts.synthetic += members
                continue
            # Within a source: what a run adds to it must not change its split. The guard looks across sources.
            groups = group_rows([as_pair(self.dialogues[number]) for number in members])
            for number, group in zip(members, groups, strict=True):
                self.groups[number] = group
            if source == "clinical" and others_train and self._tests(source) and not ratio.get("clinical"):
                parts.evaluation["test"] += members
            else:
                parts.deal(members, self._split_source(source, members))
        self.group_numbers = number_names(self.groups)
        return parts

    def _split_source(self, source: Source, members: Sequence[int]) -> list[SplitName]:
        if source == "esconv" and self._placed:
            parts = [self._placed[self.dialogues[number].uid] for number in members]
            return parts if self._tests(source) else ["train" if part == "test" else part for part in parts]
        strata = [
            [
                label
                for turn in self.dialogues[number].turns
                if turn.speaker == "supporter"
                for label in self.scheme.labels(turn, self.label_space)
            ]
            for number in members
        ]
        return divide([self.groups[number] for number in members], strata, self.split, tests=self._tests(source))

    def _rows(self, members: Iterable[int], rule: RowRule, dropped: Counter[str]) -> list[int]:
        """Makes the rows of some dialogues; their numbers."""
        start = len(self.examples)
        for number in members:
            self.examples += rows_of(number, self.dialogues[number], rule, dropped)
        return list(range(start, len(self.examples)))

    def _check_labels(self, rule: RowRule, training: Iterable[int]) -> None:
        """A source of which nothing trains because it has no label in this space was not meant so."""
        wanted = {self.dialogues[number].source for number in training}
        empty = wanted - {row.source for row in self.examples}
        if rule.labelled and empty:
            other = ", or use --data.label_space categories (Reddit rows have no strategies)"
            raise UserError(
                f"--data.label_space {self.label_space}: no turn of {', '.join(sorted(empty))} has a label in it; "
                f"leave the source out{other if self.label_space == 'strategies' else ''}"
            )

    def _training_texts(self) -> Iterable[str]:
        """The turns of the dialogues that train, without clinical ones: a tokenizer's vocabulary can be read."""
        numbers = sorted({self.examples[row].dialogue for row in self.rows["train"]})
        dialogues = (self.dialogues[number] for number in numbers)
        return (turn.text for dialogue in dialogues if dialogue.source != "clinical" for turn in dialogue.turns)

    def set_format(self, row_format: RowFormat) -> None:
        """Tokenises every dialogue and cuts every row to the window."""
        self.format = row_format
        texts = [turn.text for dialogue in self.dialogues for turn in dialogue.turns]
        tokens = iter(row_format.encoder.encode(texts))
        self.tokens = [[next(tokens) for _ in dialogue.turns] for dialogue in self.dialogues]
        self.inputs: list[Any] = [self._input(row) for row in self.examples]
        self.lengths = np.array([len(row.ids) for row in self.inputs], dtype=np.int64)

    def _input(self, row: TurnRow) -> ClassifierRow | ResponderRow:
        tokens = self.tokens[row.dialogue]
        if isinstance(self.format, ClassifierFormat):
            return self.format.row(self.dialogues[row.dialogue].turns, tokens, row.turn)
        return self.format.row(tokens, row.turn, row.labels[0] if self.format.tags and row.labels else None)

    def _describe(
        self, mix: Mix, reports: Sequence[dict[str, Any]], dropped: Counter[str], leaks: Sequence[Leak]
    ) -> dict[str, Any]:
        cut = {}
        for name, members in self.rows.items():
            inputs = [self.inputs[row] for row in members]
            cut[name] = {
                "contexts": sum(row.dropped_turns > 0 for row in inputs),
                "turns": sum(row.cut_tokens > 0 for row in inputs),
            }
        options = {
            "test_on": self.test_on,
            "label_space": self.label_space,
            "overlap": self.overlap,
            "scheme": {name: list(parts) for name, parts in self.scheme.categories.items()},
            "merge_turns": self.merge_turns,
            "max_turns": self.max_turns,
            "max_tokens": self.max_tokens,
            "split": asdict(self.split),
            "mix": asdict(self.mix),
            "leakage": self.leakage,
        }
        return build_manifest(
            self.examples,
            self.rows,
            split_hash=self.split_hash,
            count=count_labels,
            mix=mix,
            options=options,
            sources=reports,
            dropped=dropped,
            leaks=leaks,
            cut=cut,
        )

    def targets(self, *, gold: bool = False) -> npt.NDArray[np.float32]:
        """Labels of every row as float32 [N, K]: its own, or with `gold` all of its turn."""
        number = {label: place for place, label in enumerate(self.labels)}
        table = np.zeros((len(self.examples), len(number)), dtype=np.float32)
        for row, example in enumerate(self.examples):
            table[row, [number[label] for label in (example.gold if gold else example.labels)]] = 1
        return table

    def label_counts(self) -> npt.NDArray[np.float64]:
        """Training rows of each label: float64 [K]."""
        counts: npt.NDArray[np.float64] = self.targets()[self.rows["train"]].sum(axis=0, dtype=np.float64)
        return counts

    @property
    def row_groups(self) -> npt.NDArray[np.int64]:
        """Number of each row's group: int64 [N]."""
        return self.group_numbers[[row.dialogue for row in self.examples]]

    def _collator(self, *, evaluation: bool) -> StrategyCollator | ResponderCollator:
        if isinstance(self.format, ClassifierFormat):
            return StrategyCollator(
                self.inputs, self.targets(), self.targets(gold=True), self.row_groups, self.format.pad_id
            )
        # Evaluated unpacked: a row's numbers must not depend on its neighbours, to the last bit.
        packed = self.packed and not evaluation
        return ResponderCollator(self.inputs, self.row_groups, self.format.end_id, packed=packed)

    def describe_row(self, row: int, split: str, *, with_text: bool) -> dict[str, Any]:
        """What `predictions.jsonl` says of a row beside the prediction: names, labels, and the text where it may.

        `target` are the row's own labels, `gold` all of its turn.
        """
        example = self.examples[row]
        id_ = example.uid.removeprefix(f"{example.source}:{example.generator}:")
        entry: dict[str, Any] = {"id": id_, "source": example.source, "split": split}
        if example.generator:
            entry["generator"] = example.generator
        if with_text:
            entry["gold_response"] = self.dialogues[example.dialogue].turns[example.turn].text
        return entry | {"target": list(example.labels), "gold": list(example.gold)}
