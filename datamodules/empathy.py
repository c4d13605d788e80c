"""The DataModule of the empathy model: pairs of several sources, split, mixed, tokenised and batched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datamodules.files import as_list
from datamodules.loaders import SplitLoaders
from datamodules.manifest import build_manifest, count_levels, split_hash
from datamodules.mixing import Mix, MixOptions, mix_rows
from datamodules.pair_batches import PairCollator
from datamodules.pair_sources import SourceColumns, read_sources
from datamodules.parts import Leakage, Parts
from datamodules.records import LEVELS, MECHANISMS, Mechanism, Pair, Source
from datamodules.splits import (
    SPLITS,
    Leak,
    SplitName,
    SplitOptions,
    find_leaks,
    group_rows,
    hash_ids,
    number_names,
    split_groups,
)
from datamodules.tokenised import RationaleSearch, TextEncoder, TokenisedPairs, tokenise
from errors import DataError, UserError
from pretrained import load_tokenizer
from sharing import shared

__all__ = ["EmpathyDataModule", "default_cache"]

TestSource = Literal["reddit", "clinical", "synthetic"]


def default_cache() -> str:
    """`$ATTUNE_CACHE`, or `attune` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("ATTUNE_CACHE") or str(Path(base, "attune").expanduser())


class EmpathyDataModule(SplitLoaders):
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
        leakage: Leakage = "error",
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
        super().__init__(batch_size, evaluation_batch_size, bucketed=bucketed, num_workers=num_workers)
        self.reddit = reddit
        self.files = {"clinical": as_list(clinical), "synthetic": as_list(synthetic)}
        self.columns = columns or SourceColumns()
        self.split: SplitOptions = split or SplitOptions()
        self.mix = mix or MixOptions()
        self.leakage: Leakage = leakage
        self.encoder = encoder
        self.mechanisms: list[Mechanism] = list(dict.fromkeys(mechanisms or MECHANISMS))
        self.max_tokens = max_tokens
        self.pad_to_window = pad_to_window
        self.rationale_search: RationaleSearch = rationale_search
        self.drop_retokenised = drop_retokenised
        self.cache = Path(default_cache() if cache is None else cache).expanduser() if cache != "" else None
        if not (reddit or self.files["clinical"] or self.files["synthetic"]):
            raise UserError("no data: give at least one of --data.reddit, --data.clinical, --data.synthetic")
        if drop_retokenised and rationale_search != "published":
            raise UserError(
                f"--data.drop_retokenised needs --data.rationale_search published (it is {rationale_search})"
            )
        self.test_on: list[str] = as_list(test_on) or [self._default_test()]
        self._check_test_source()
        if len(self.mechanisms) == 1 and self.mix.mechanism is None:
            self.mix = replace(self.mix, mechanism=self.mechanisms[0])
        self.pairs: list[Pair] = []

    def _default_test(self) -> TestSource:
        if self.reddit:
            return "reddit"
        return "clinical" if self.files["clinical"] else "synthetic"

    def _check_test_source(self) -> None:
        for source in self.test_on:
            if not (self.reddit if source == "reddit" else self.files[source]):
                raise UserError(f"--data.test_on {source}: no {source} rows are given (--data.{source})")

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits, guards, mixes and tokenises; once, whatever the stage."""
        if self.manifest:
            return
        sources = read_sources(self.reddit, self.files, self.columns)
        self.pairs, self._contents = sources.pairs, sources.contents
        dropped = Counter({"the same row in another file": sources.repeated} if sources.repeated else {})
        parts = self._divide()
        if idle := len(self.pairs) - len(parts.training) - len(parts.evaluating):
            dropped["clinical, without a weight and not tested"] += idle
        self._drop_unlabelled(parts, dropped)
        leaks = self._leaks(parts)
        if leaking := parts.guard(self.pairs, leaks, self.leakage, "row"):
            dropped["belongs together with an evaluation row"] += leaking
        mix = mix_rows(self.pairs, parts.base, parts.synthetic, self.mix)
        self.rows = {"train": mix.rows, **parts.evaluation}
        self._tokenise()
        if self.drop_retokenised:
            self._drop_retokenised(dropped)
        self._index()
        self.manifest = self._describe(mix, sources.reports, dropped, leaks)

    def _drop_unlabelled(self, parts: Parts, dropped: Counter[str]) -> None:
        """Leaves rows without a level of a trained mechanism out, after the split, which all mechanisms share."""
        known = set(self.mechanisms)
        unlabelled = {row for row in parts.training + parts.evaluating if not known & self.pairs[row].levels.keys()}
        if unlabelled:
            dropped["no level of a trained mechanism"] += len(unlabelled)
            parts.remove(unlabelled)
        if not parts.training + parts.evaluating:
            raise DataError([f"no row has a level of {', '.join(self.mechanisms)}; nothing to train or test"])

    def _clinical_trains(self) -> bool:
        if self.mix.mode == "ratio":
            return bool((self.mix.weights or {}).get("clinical"))
        return "clinical" not in self.test_on or not (self.reddit or self._synthetic_is_base())

    def _synthetic_is_base(self) -> bool:
        return "synthetic" in self.test_on or not (self.reddit or self.files["clinical"])

    def _divide(self) -> Parts:
        parts = Parts()
        by_source: dict[Source, list[int]] = {}
        for row, pair in enumerate(self.pairs):
            by_source.setdefault(pair.source, []).append(row)
        self.groups = [pair.uid for pair in self.pairs]
        for source, rows in by_source.items():
            if source == "synthetic" and not self._synthetic_is_base():
                parts.synthetic += rows
                continue
            # Within a source: what a run adds to it must not change its split. The guard looks across sources.
            for row, group in zip(rows, self._group(source, rows), strict=True):
                self.groups[row] = group
            if source == "clinical" and not self._clinical_trains():
                parts.evaluation["test"] += rows if "clinical" in self.test_on else []
            else:
                parts.deal(rows, self._split_source(source, rows))
        return parts

    def _group(self, source: Source, rows: Sequence[int]) -> list[str]:
        return shared(
            "groups",
            lambda: (source, self._contents, self.split.by),
            lambda: group_rows([self.pairs[row] for row in rows], self.split.by),
        )

    def _split_source(self, source: Source, rows: Sequence[int]) -> list[SplitName]:
        options = replace(self.split, test=self.split.test if source in self.test_on else 0.0)
        strata = [[f"{name}/{level}" for name, level in self.pairs[row].levels.items()] for row in rows]
        parts = split_groups([self.groups[row] for row in rows], strata, options)
        return [SPLITS[part] for part in parts]

    def _leaks(self, parts: Parts) -> list[Leak]:
        """Compares whatever may train with whatever evaluates."""
        training, evaluated = ([self.pairs[row] for row in rows] for rows in (parts.training, parts.evaluating))
        return shared(
            "leaks",
            lambda: (self._contents, *(hash_ids(pair.uid for pair in part) for part in (training, evaluated))),
            lambda: find_leaks(training, evaluated),
        )

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
        self.group_numbers = number_names(self.groups)
        self.posts = number_names([pair.seeker_post for pair in self.pairs])
        self.lengths = self.tokens.response.lengths
        _, first = np.unique(self.posts, return_index=True)
        self.seeker_posts = [self.tokens.seeker[row] for row in first]

    def _describe(
        self, mix: Mix, reports: Sequence[dict[str, Any]], dropped: Counter[str], leaks: Sequence[Leak]
    ) -> dict[str, Any]:
        cut: dict[SplitName, dict[str, int]] = {}
        for split, rows in self.rows.items():
            unique = sorted(set(rows))
            tokens = self.tokens.cut[unique]
            cut[split] = {"responses": int((tokens[:, 0] > 0).sum()), "seeker_posts": int((tokens[:, 1] > 0).sum())}
            for name in self.mechanisms:
                cut[split][f"{name}/rationales"] = sum(self._rationale_cut(name, row) for row in unique)
        return build_manifest(
            self.pairs,
            self.rows,
            split_hash=self.split_hash,
            count=count_levels,
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
            cut=cut,
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

    def _collator(self, *, evaluation: bool) -> PairCollator:
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

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in its rows, and what turns text into tokens."""
        return super().state_dict() | {"text_encoder": self.text_encoder.to_state()}
