"""Predictions of the DataModule's own rows: `predictions.jsonl` and a page to look at them, in the run's folder."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from callbacks.rationale_page import write_page
from callbacks.run_record import RunRecord
from datamodules.dialogue import DialogueDataModule
from datamodules.empathy import EmpathyDataModule
from datamodules.files import replacing
from lightning_modules.networks.decisions import Decisions, describe

__all__ = ["PredictionWriter"]


class PredictionWriter(Callback):
    """Writes the rows of `test` and `predict` in the DataModule's order, each once, whatever the number of processes.

    Args:
        record: Knows the run's folder.
        allow_clinical_text: Whether rows of a clinical source carry their text.
    """

    def __init__(self, record: RunRecord, allow_clinical_text: bool) -> None:
        self.record = record
        self.allow_clinical_text = allow_clinical_text
        self._found: dict[int, dict[str, Any]] = {}

    def _take(self, outputs: Any, batch: Any, module: Any) -> None:
        """The steps of the tasks over dialogues give a dictionary a row themselves."""
        if isinstance(outputs, Decisions):
            described = describe(outputs, batch["offsets"], module.mechanisms)
        else:
            described = outputs["described"]
        self._found |= dict(zip(batch["rows"].tolist(), described, strict=True))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keeps a batch's decisions."""
        self._take(outputs, batch, pl_module)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keeps a batch's decisions."""
        self._take(outputs, batch, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the test rows."""
        self._write(trainer)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the rows of every split."""
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        """Each process leaves its part in the folder, the first one joins them."""
        part = self.record.folder / f".predictions-{trainer.global_rank}.part"
        with part.open("w", encoding="utf-8") as lines:
            for row, found in self._found.items():
                lines.write(json.dumps([row, found]) + "\n")
        self._found = {}
        trainer.strategy.barrier("predictions")
        if trainer.is_global_zero:
            parts = [self.record.folder / f".predictions-{rank}.part" for rank in range(trainer.world_size)]
            data = trainer.datamodule  # type: ignore[attr-defined]
            file = self.record.folder / "predictions.jsonl"
            _join(parts, data, file, self.allow_clinical_text)
            if isinstance(data, EmpathyDataModule):
                page = file.with_suffix(".html")
                write_page(file, page, title=self.record.folder.name, allow_clinical_text=self.allow_clinical_text)
        trainer.strategy.barrier("predictions joined")


def _join(
    parts: list[Path], data: EmpathyDataModule | DialogueDataModule, file: Path, allow_clinical_text: bool
) -> None:
    found: dict[int, dict[str, Any]] = {}
    for part in parts:
        with part.open(encoding="utf-8") as lines:
            found |= dict(json.loads(line) for line in lines)
    split_of = {row: split for split, rows in data.rows.items() for row in rows}
    groups = data.row_groups if isinstance(data, DialogueDataModule) else data.group_numbers
    numbers: dict[str, dict[int, int]] = defaultdict(dict)  # the groups' own names hold texts
    with replacing(file) as output:
        for row in sorted(found):
            entry = _row(data, row, split_of[row], allow_clinical_text) | found[row]
            of_split = numbers[split_of[row]]
            entry["group"] = of_split.setdefault(int(groups[row]), len(of_split))
            if entry["source"] == "clinical" and not allow_clinical_text:
                entry.pop("responses", None)  # what was written to a clinical dialogue may quote it
            entry["gold"] = entry.pop("gold")
            output.write(json.dumps(entry, ensure_ascii=False) + "\n")
    for part in parts:
        part.unlink()


def _row(
    data: EmpathyDataModule | DialogueDataModule, row: int, split: str, allow_clinical_text: bool
) -> dict[str, Any]:
    """What stands beside a prediction: names, gold, and the texts where they may."""
    if isinstance(data, DialogueDataModule):
        with_text = data.examples[row].source != "clinical" or allow_clinical_text
        return data.describe_row(row, split, with_text=with_text)
    pair = data.pairs[row]
    entry: dict[str, Any] = {"id": pair.id, "source": pair.source, "split": split}
    if pair.generator:
        entry["generator"] = pair.generator
    if pair.source != "clinical" or allow_clinical_text:
        entry |= {"seeker_post": pair.seeker_post, "response_post": pair.response_post}
    return entry | {"gold": {"levels": pair.levels, "rationales": pair.rationales}}
