"""The DataModule of the empathy model: pairs of several sources, split, mixed, tokenised and batched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from datamodules.batching import (
    EmpathyBatch,
    EvaluationBatches,
    PairCollator,
    RowNumbers,
    TrainBatches,
    training_position,
)
from datamodules.manifest import build_manifest, split_hash
from datamodules.mixing import Mix, MixOptions, mix_rows
from datamodules.records import LEVELS, MECHANISMS, Mechanism, Pair, Source
from datamodules.sources.epitome import read_epitome
from datamodules.sources.report import SourceReport, sha256_of
from datamodules.sources.table import Columns, read_table
from datamodules.splits import SPLITS, Leak, SplitName, SplitOptions, find_leaks, group_rows, hash_ids, split_groups
from datamodules.tokenised import RationaleSearch, TextEncoder, TokenisedPairs, tokenise
from errors import DataError, UserError
from pretrained import load_tokenizer
from sharing import shared

__all__ = ["EmpathyDataModule", "SourceColumns", "default_cache"]


TestSource = Literal["reddit", "clinical", "synthetic"]


def default_cache() -> str:
    """`$ATTUNE_CACHE`, or `attune` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("ATTUNE_CACHE") or str(Path(base, "attune").expanduser())


@dataclass
class SourceColumns:
    """The names of the columns in the tables.

    Args:
        clinical: In the clinical tables.
        synthetic: In the synthetic tables.
    """

    clinical: Columns = field(default_factory=Columns)
    synthetic: Columns = field(default_factory=Columns)


class EmpathyDataModule(L.LightningDataModule):
    """Pairs with levels and rationales from Reddit, clinical and synthetic sources, mixed as asked.

    Which rows do what: with `test_on: reddit` every real source trains and Reddit's test share tests. With
    `test_on: clinical` the clinical rows test: all of them where Reddit, or a ratio without `clinical`, trains; their
    test share where they train themselves. Validation rows are a share of every source that trains. Synthetic rows
    only train, unless they are the only source or `test_on: synthetic` asks for it.

    Args:
        reddit: Folder with the three EPITOME files (see `cli.py prepare epitome`).
        clinical: Tables of clinical pairs (CSV, JSON Lines or Parquet). Their text never reaches a log, a tracker, an
            error message, a cache or predictions.
        synthetic: Tables of synthetic pairs, one or several generators.
        test_on: The source whose rows are tested, or several (scores are then given for each as well); null: the first
            of Reddit, clinical and synthetic that is given.
        columns: Column names of the tables.
        split: Shares, seed and unit of the division.
        mix: How synthetic and other rows join the training rows.
        leakage: What to do about a training row that belongs together with an evaluation row (same pair, same seeker
            post, same group, near-duplicate seeker post): stop with an `error`, `drop` the training row, or `report`.
        encoder: The model whose tokenizer is used (taken from the model).
        mechanisms: The mechanisms that are trained (taken from the model).
        max_tokens: Window in tokens for each of the two texts, special tokens included.
        batch_size: Training rows a step, over all devices together.
        evaluation_batch_size: Rows in an evaluation batch.
        bucketed: Whether batches hold rows of similar length; the published code shuffles plainly.
        pad_to_window: Pad every text to the window as the published code does (its unmasked attention sees that).
        rationale_search: How rationales become token labels: by their `spans`, or as the `published` code searches.
        drop_retokenised: Drop training rows that re-tokenise to another length, as the published code does.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
        cache: Folder for tokenised rows and frozen seeker states (never of clinical rows); null: `$ATTUNE_CACHE` or
            `~/.cache/attune`; an empty text switches caching off.
    """

    def __init__(
        self,
        reddit: str | None = None,
        clinical: str | list[str] | None = None,
        synthetic: str | list[str] | None = None,
        test_on: TestSource | list[TestSource] | None = None,
        columns: SourceColumns | None = None,
        split: SplitOptions | None = None,
        mix: MixOptions | None = None,
        leakage: Literal["error", "drop", "report"] = "error",
        encoder: str = "roberta-base",
        mechanisms: list[Mechanism] | None = None,
        max_tokens: int = 256,
        batch_size: int = 32,
        evaluation_batch_size: int = 64,
        bucketed: bool = True,
        pad_to_window: bool = False,
        rationale_search: RationaleSearch = "spans",
        drop_retokenised: bool = False,
        num_workers: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.reddit = reddit
        self.files = {"clinical": _as_list(clinical), "synthetic": _as_list(synthetic)}
        self.columns = columns or SourceColumns()
        self.split = split or SplitOptions()
        self.mix = mix or MixOptions()
        self.leakage = leakage
        self.encoder = encoder
        self.mechanisms: list[Mechanism] = list(dict.fromkeys(mechanisms or MECHANISMS))
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self.bucketed = bucketed
        self.pad_to_window = pad_to_window
        self.rationale_search: RationaleSearch = rationale_search
        self.drop_retokenised = drop_retokenised
        self.num_workers = num_workers
        self.cache = Path(default_cache() if cache is None else cache).expanduser() if cache != "" else None
        if not (reddit or self.files["clinical"] or self.files["synthetic"]):
            raise UserError("no data: give at least one of --data.reddit, --data.clinical, --data.synthetic")
        for name in ("batch_size", "evaluation_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"--data.{name} is {getattr(self, name)}; it is 1 or more")
        self.test_on: list[str] = _as_list(test_on) or [self._default_test()]
        self._check_test_source()
        if len(self.mechanisms) == 1 and self.mix.mechanism is None:
            self.mix = replace(self.mix, mechanism=self.mechanisms[0])
        self.pairs: list[Pair] = []
        self.rows: dict[SplitName, list[int]] = {}
        self.manifest: dict[str, Any] = {}
        self._resume = (0, 0)

    def _default_test(self) -> TestSource:
        if self.reddit:
            return "reddit"
        return "clinical" if self.files["clinical"] else "synthetic"

    def _check_test_source(self) -> None:
        for source in self.test_on:
            if not (self.reddit if source == "reddit" else self.files[source]):
                raise UserError(f"--data.test_on {source}: no {source} rows are given (--data.{source})")

    def prepare_data(self) -> None:
        """Nothing to fetch: `cli.py prepare` does that, on purpose and with the licence in view."""

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits, guards, mixes and tokenises; once, whatever the stage."""
        if self.manifest:
            return
        self.pairs, reports, dropped = self._read()
        base, synthetic, evaluation = self._divide()
        base, synthetic = self._keep_labelled(base, dropped), self._keep_labelled(synthetic, dropped)
        evaluation = {split: self._keep_labelled(rows, dropped) for split, rows in evaluation.items()}
        if not any((base, synthetic, *evaluation.values())):
            raise DataError([f"no row has a level of {', '.join(self.mechanisms)}; nothing to train or test"])
        base, synthetic, leaks = self._guard(base, synthetic, evaluation, dropped)
        mix = mix_rows(self.pairs, base, synthetic, self.mix)
        self.rows = {"train": mix.rows, **evaluation}
        self._tokenise()
        if self.drop_retokenised:
            self._drop_retokenised(dropped)
        self._index()
        self.manifest = self._describe(mix, reports, dropped, leaks)

    def _read(self) -> tuple[list[Pair], list[dict[str, Any]], Counter[str]]:
        """All rows of all sources, each reader's report, and why rows were left out afterwards."""
        found: list[tuple[Pair, Path]] = []
        reports: list[dict[str, Any]] = []
        problems: list[str] = []
        readers: list[tuple[Any, ...]] = [(read_epitome, Path(self.reddit))] if self.reddit else []
        for source in ("clinical", "synthetic"):
            columns = getattr(self.columns, source)
            readers += [(read_table, Path(file), columns, source) for file in self.files[source]]
        for reader, path, *arguments in readers:
            try:
                rows, report = _read_once(reader, path, *arguments)
            except DataError as error:
                problems += error.problems
            else:
                found += [(pair, path) for pair in rows]
                reports.append(asdict(report))
        if problems:
            raise DataError(problems)
        given = repr((self.reddit, self.files, self.columns, self.split.by))
        self._contents = (given, *(report["sha256"] for report in reports))
        pairs, repeated = _without_repeats(found)
        return pairs, reports, Counter({"the same row in another file": repeated} if repeated else {})

    def _has_label(self, row: int) -> bool:
        return any(name in self.pairs[row].levels for name in self.mechanisms)

    def _keep_labelled(self, rows: list[int], dropped: Counter[str]) -> list[int]:
        """The rows with a level of a trained mechanism; splits are made before, so that all mechanisms share them."""
        kept = [row for row in rows if self._has_label(row)]
        if len(kept) < len(rows):
            dropped["no level of a trained mechanism"] += len(rows) - len(kept)
        return kept

    def _clinical_trains(self) -> bool:
        if self.mix.mode == "ratio":
            return bool((self.mix.weights or {}).get("clinical"))
        return "clinical" not in self.test_on or not (self.reddit or self._synthetic_is_base())

    def _synthetic_is_base(self) -> bool:
        return "synthetic" in self.test_on or not (self.reddit or self.files["clinical"])

    def _divide(self) -> tuple[list[int], list[int], dict[SplitName, list[int]]]:
        """Base rows, synthetic candidates, and the evaluation splits."""
        base: list[int] = []
        synthetic: list[int] = []
        evaluation: dict[SplitName, list[int]] = {"validation": [], "test": []}
        by_source: dict[Source, list[int]] = {}
        for row, pair in enumerate(self.pairs):
            by_source.setdefault(pair.source, []).append(row)
        self.groups = [pair.uid for pair in self.pairs]
        for source, rows in by_source.items():
            if source == "synthetic" and not self._synthetic_is_base():
                synthetic += rows
                continue
            # Within a source: what a run adds to it must not change its split. The guard looks across sources.
            for row, group in zip(rows, self._group(source, rows), strict=True):
                self.groups[row] = group
            if source == "clinical" and not self._clinical_trains():
                evaluation["test"] += rows if "clinical" in self.test_on else []
            else:
                for row, part in zip(rows, self._split_source(source, rows), strict=True):
                    if part == "train":
                        base.append(row)
                    else:
                        evaluation[part].append(row)
        return base, synthetic, evaluation

    def _group(self, source: Source, rows: Sequence[int]) -> list[str]:
        return shared(
            "groups",
            lambda: (source, self._contents),
            lambda: group_rows([self.pairs[row] for row in rows], self.split.by),
        )

    def _split_source(self, source: Source, rows: Sequence[int]) -> list[SplitName]:
        options = replace(self.split, test=self.split.test if source in self.test_on else 0.0)
        strata = [[f"{name}/{level}" for name, level in self.pairs[row].levels.items()] for row in rows]
        parts = split_groups([self.groups[row] for row in rows], strata, options)
        return [SPLITS[part] for part in parts]

    def _guard(
        self,
        base: list[int],
        synthetic: list[int],
        evaluation: dict[SplitName, list[int]],
        dropped: Counter[str],
    ) -> tuple[list[int], list[int], list[Leak]]:
        """Compares whatever may train with whatever evaluates; base and synthetic rows that may stay, and the leaks."""
        evaluated = [self.pairs[row] for rows in evaluation.values() for row in rows]
        training = [self.pairs[row] for row in (*base, *synthetic)]
        leaks = shared(
            "leaks",
            lambda: (self._contents, *(hash_ids(pair.uid for pair in part) for part in (training, evaluated))),
            lambda: find_leaks(training, evaluated),
        )
        if leaks and self.leakage == "error":
            lines = [f"training row {leak.train} and evaluation row {leak.evaluation}: {leak.why}" for leak in leaks]
            raise DataError(
                [
                    f"leakage: {len(leaks)} pairs of a training and an evaluation row belong together "
                    "(--data.leakage drop leaves the training rows out, report goes on)",
                    *lines,
                ]
            )
        if self.leakage == "drop":
            bad = {leak.train for leak in leaks}
            count = len(base) + len(synthetic)
            base = [row for row in base if self.pairs[row].uid not in bad]
            synthetic = [row for row in synthetic if self.pairs[row].uid not in bad]
            if bad:
                dropped["belongs together with an evaluation row"] += count - len(base) - len(synthetic)
        return base, synthetic, leaks

    def _tokenise(self) -> None:
        tokenizer = load_tokenizer(self.encoder)
        self.text_encoder = TextEncoder.from_tokenizer(tokenizer, self.max_tokens)
        self.tokens: TokenisedPairs = shared(
            "tokens",
            lambda: (self._contents, self.text_encoder.description, self.max_tokens, self.rationale_search),
            lambda: tokenise(
                self.pairs, self.text_encoder, search=self.rationale_search, tokenizer=tokenizer, cache=self.cache
            ),
        )

    def _drop_retokenised(self, dropped: Counter[str]) -> None:
        kept = [row for row in self.rows["train"] if self.tokens.retokenises[row]]
        dropped["re-tokenises to another length"] += len(self.rows["train"]) - len(kept)
        self.rows["train"] = kept

    def _index(self) -> None:
        """Numbers for levels, groups and distinct seeker posts."""
        self.levels = np.array(
            [[pair.levels.get(name, -1) for name in self.mechanisms] for pair in self.pairs], dtype=np.int64
        )
        self.group_numbers = _numbered(self.groups)
        self.posts = _numbered([pair.seeker_post for pair in self.pairs])
        _, first = np.unique(self.posts, return_index=True)
        self.seeker_posts = [self.tokens.seeker[row] for row in first]

    def _describe(
        self, mix: Mix, reports: Sequence[dict[str, Any]], dropped: Counter[str], leaks: Sequence[Leak]
    ) -> dict[str, Any]:
        tokens: dict[SplitName, dict[str, int]] = {}
        for split, rows in self.rows.items():
            unique = sorted(set(rows))
            cut = self.tokens.cut[unique]
            tokens[split] = {"responses": int((cut[:, 0] > 0).sum()), "seeker_posts": int((cut[:, 1] > 0).sum())}
            for name in self.mechanisms:
                tokens[split][f"{name}/rationales"] = sum(self._rationale_cut(name, row) for row in unique)
        return build_manifest(
            self.pairs,
            self.rows,
            mix=mix,
            options={
                "test_on": self.test_on,
                "split": asdict(self.split),
                "mix": asdict(self.mix),
                "leakage": self.leakage,
                "max_tokens": self.max_tokens,
            },
            sources=reports,
            dropped=dropped,
            leaks=leaks,
            tokens=tokens,
        )

    def _rationale_cut(self, mechanism: str, row: int) -> bool:
        if not self.tokens.cut[row, 0]:
            return False
        pair, end_of_window = self.pairs[row], int(self.tokens.offsets[row].max())
        spans = pair.rationales.get(mechanism, [])
        return any(len(pair.response_post[:end].rstrip()) > end_of_window for _, end in spans)

    @property
    def split_hash(self) -> str:
        """The test set's name (see `datamodules.manifest.split_hash`)."""
        return split_hash(self.pairs, self.rows["test"])

    def post_parts(self) -> list[tuple[npt.NDArray[np.int64], bool]]:
        """Numbers of the distinct seeker posts by source and generator, and whether a clinical row has them.

        A part is the same whatever the mix, so that runs share what is computed for it.
        """
        owner: dict[int, tuple[str, str]] = {}
        for post, pair in zip(self.posts.tolist(), self.pairs, strict=True):
            name = (pair.source, pair.generator)
            owner[post] = min(owner.get(post, name), name)  # "clinical" comes first
        parts: dict[tuple[str, str], list[int]] = {}
        for post in sorted(owner):
            parts.setdefault(owner[post], []).append(post)
        return [(np.array(numbers), source == "clinical") for (source, _), numbers in parts.items()]

    def level_counts(self) -> npt.NDArray[np.int64]:
        """Training rows of each level: int64 [M, L]."""
        train = self.levels[self.rows["train"]]
        return np.array([[(column == level).sum() for level in LEVELS] for column in train.T], dtype=np.int64)

    def _collator(self, evaluation: bool) -> PairCollator:
        return PairCollator(
            self.tokens,
            self.levels,
            self.group_numbers,
            self.posts,
            self.mechanisms,
            self.text_encoder.pad_id,
            evaluation=evaluation,
            window=self.max_tokens if self.pad_to_window else None,
        )

    def _loader(self, batches: TrainBatches | EvaluationBatches, evaluation: bool) -> DataLoader[EmpathyBatch]:
        return DataLoader(
            RowNumbers(len(self.pairs)),  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self._collator(evaluation),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _train_batches(self) -> TrainBatches:
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        lengths = self.tokens.response.lengths
        return TrainBatches(self.rows["train"], lengths, self.batch_size, seed, bucketed=self.bucketed)

    def train_dataloader(self) -> DataLoader[EmpathyBatch]:
        """Shuffled, length-bucketed batches; continues within an epoch after a resume."""
        if not self.rows["train"]:
            raise UserError("no row is left to train on; lower --data.split.test or give another source")
        batches = self._train_batches()
        batches.resume(*self._resume)
        return self._loader(batches, evaluation=False)

    def _evaluation_loader(self, split: SplitName) -> DataLoader[EmpathyBatch]:
        batches = EvaluationBatches(self.rows[split], self.tokens.response.lengths, self.evaluation_batch_size)
        return self._loader(batches, evaluation=True)

    def val_dataloader(self) -> DataLoader[EmpathyBatch] | list[DataLoader[EmpathyBatch]]:
        """The validation rows; no loader where there are none."""
        return self._evaluation_loader("validation") if self.rows["validation"] else []

    def test_dataloader(self) -> DataLoader[EmpathyBatch]:
        """The test rows."""
        if not self.rows["test"]:
            raise UserError(f"no row is left to test; raise --data.split.test (it is {self.split.test}) or add rows")
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> list[DataLoader[EmpathyBatch]]:
        """One loader a split that has rows."""
        return [self._evaluation_loader(split) for split in SPLITS if self.rows[split]]

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in its rows, and what turns text into tokens."""
        position = training_position(self.trainer, self._train_batches)
        return {"position": position, "text_encoder": self.text_encoder.to_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up `state_dict`'s position."""
        epoch, batch = state_dict["position"]
        self._resume = (int(epoch), int(batch))


def _as_list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _read_once(
    reader: Callable[..., tuple[list[Pair], SourceReport]], path: Path, *arguments: Any
) -> tuple[list[Pair], SourceReport]:
    """What a reader gives of a file or folder, from memory where runs share it and the bytes are the same."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        return reader(path, *arguments)  # it says what is wrong
    return shared(
        "rows",
        lambda: (str(path), sha256_of(*files), repr(arguments)),
        lambda: reader(path, *arguments),
    )


def _numbered(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The place of each name among the distinct ones in order: int64 [N]."""
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], dtype=np.int64)


def _without_repeats(found: Sequence[tuple[Pair, Path]]) -> tuple[list[Pair], int]:
    """The rows in order of their names, each once, and how many were in another file too.

    Raises:
        DataError: Files of one source have unlike rows of one id.
    """
    kept: dict[str, tuple[Pair, Path]] = {}
    repeated = 0
    clashes: dict[tuple[Path, Path], list[Pair]] = {}
    for pair, path in found:
        first, place = kept.setdefault(pair.uid, (pair, path))
        if first is not pair and first == pair:
            repeated += 1
        elif first is not pair:
            clashes.setdefault((path, place), []).append(pair)
    if clashes:
        raise DataError(
            f"{path}: {len(pairs)} of its ids{'' if pairs[0].source == 'clinical' else f' (as {pairs[0].id!r:.40})'} "
            f"stand for other rows in {place}; give each row of a source its own id"
            for (path, place), pairs in clashes.items()
        )
    return [pair for _, (pair, _) in sorted(kept.items())], repeated
