"""The strategy classifier: which strategy a supporter's next turn uses, or which one a given turn does.

Legend: B rows, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from datamodules.contexts import ClassifierFormat, Target, TurnEncoder
from datamodules.dialogue import DialogueDataModule
from datamodules.dialogue_batches import StrategyBatch
from datamodules.turn_rows import RowRule
from errors import UserError
from lightning_modules.evaluation_record import EvaluationRecord, Stage, by_source, text_table
from lightning_modules.losses import LevelLoss, level_terms
from lightning_modules.networks.strategy_encoder import StrategyEncoder, StrategySpec, describe_choices, fit_temperature
from lightning_modules.optimisation import Optimisation, build_optimiser, linear_schedule
from metrics.confusion_picture import confusion_svg
from metrics.evaluation import Score
from metrics.loss import OrderedMean
from metrics.row_table import RowTable
from metrics.strategies import StrategyRows, confusion, evaluate_strategies, preference_bias, strategy_scores
from pretrained import encoder_window, load_encoder, load_tokenizer

__all__ = ["StrategyClassifier"]

_SHOWN = (
    "accuracy",
    "f1_macro",
    "f1_weighted",
    "top3_accuracy",
    "accuracy_any",
    "preference_bias",
    "calibration_error",
)


class StrategyClassifier(L.LightningModule):
    """An encoder with a head over the labels of the DataModule's label space.

    Args:
        encoder: Name or folder of a pretrained encoder.
        target: `next`: the strategy of the supporter's next turn, from the context before it. `given`: that of a turn
            that is there to be read, the easier task.
        loss: `plain` cross-entropy, `class_weighted`, or `logit_adjusted` (see `losses.level_terms`).
        adjustment: Strength of the logit adjustment.
        pooling: What the head reads: the first token, or the mean of the tokens.
        dropout: Before the head.
        speaker_embeddings: Tell the encoder by learnt embeddings who speaks.
        turn_embeddings: Tell it how many turns ago a token was said.
        optimisation: Optimiser and schedule.
        init_seed: Seed of the head's initial weights.
        compile: Compile the encoder with torch.compile; pays on long GPU runs only.
    """

    network: StrategyEncoder
    tables: nn.ModuleDict
    losses: nn.ModuleDict

    def __init__(
        self,
        encoder: str = "bert-base-uncased",
        target: Target = "next",
        loss: LevelLoss = "plain",
        adjustment: float = 1.0,
        pooling: Literal["first", "mean"] = "first",
        dropout: float = 0.1,
        speaker_embeddings: bool = False,
        turn_embeddings: bool = False,
        optimisation: Optimisation | None = None,
        init_seed: int = 0,
        compile: bool = False,  # noqa: A002
    ) -> None:
        super().__init__()
        self.encoder_name = encoder
        self.target: Target = target
        self.loss: LevelLoss = loss
        self.adjustment = adjustment
        self.pooling: Literal["first", "mean"] = pooling
        self.dropout = dropout
        self.speaker_embeddings = speaker_embeddings
        self.turn_embeddings = turn_embeddings
        self.optimisation = optimisation or Optimisation()
        self.init_seed = init_seed
        self.compile_encoder = compile
        self.label_counts: Tensor

    def row_rules(self, rule: RowRule) -> tuple[RowRule, RowRule]:
        """Rows that train and rows that evaluate are made the same way; a turn without a label is none."""
        return rule, rule

    def row_format(self, data: DialogueDataModule, texts: Callable[[], Iterable[str]]) -> ClassifierFormat:
        """Loads encoder and tokenizer and builds the network for the DataModule's labels."""
        tokenizer = load_tokenizer(self.encoder_name)
        self._build(data)
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        separator = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        if first is None or separator is None:
            raise UserError(f"--model.encoder {self.encoder_name}: its tokenizer has no first or separating token")
        pad = tokenizer.pad_token_id
        return ClassifierFormat(
            TurnEncoder(tokenizer.backend_tokenizer.to_str()),
            int(first),
            int(separator),
            0 if pad is None else int(pad),
            data.max_tokens,
            data.max_turns,
            self.target,
            data.merge_turns,
        )

    def _build(self, data: DialogueDataModule) -> None:
        encoder = load_encoder(self.encoder_name)
        config = encoder.config.to_dict()
        limit = encoder_window(config)
        if limit is not None and data.max_tokens > limit:
            raise UserError(f"--data.max_tokens is {data.max_tokens}; the encoder reads at most {limit}")
        spec = StrategySpec(
            labels=list(data.labels),
            label_space=data.label_space,
            multi_label=data.overlap == "multi" and data.label_space == "categories",
            pooling=self.pooling,
            dropout=self.dropout,
            speaker_embeddings=self.speaker_embeddings,
            turn_embeddings=self.turn_embeddings,
            encoder_config=config,
        )
        self.network = StrategyEncoder(spec, encoder, self.init_seed)
        if self.compile_encoder:
            self.network.encoder.compile(dynamic=True)
        self.register_buffer("label_counts", torch.zeros(len(spec.labels)))
        stages: tuple[Stage, ...] = ("validation", "test")
        size = len(spec.labels)
        self.tables = nn.ModuleDict({stage: RowTable(3 * size) for stage in stages})
        self.losses = nn.ModuleDict({stage: OrderedMean() for stage in stages})

    @property
    def _data(self) -> DialogueDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DialogueDataModule)
        return data

    def setup(self, stage: str) -> None:
        """Takes the label counts of the training rows."""
        if stage == "fit":
            self.label_counts.copy_(torch.from_numpy(self._data.label_counts()))
            self.network.log_prior.copy_(self._taken_out(len(self._data.rows["train"])))

    def _taken_out(self, rows: int) -> Tensor:
        """What the loss takes out of the logits of `rows` training rows: float32 [K].

        Of one label the log share, of several each label's log-odds; weights of several labels, which count rows with
        and without the label alike, take nothing out.
        """
        several = self.network.spec.multi_label
        if self.loss == "plain" or (several and self.loss == "class_weighted"):
            return torch.zeros_like(self.label_counts)
        strength = self.adjustment if self.loss == "logit_adjusted" else 1.0
        if several:
            return strength * torch.logit((self.label_counts + 0.5) / (rows + 1))
        share = self.label_counts.clamp(min=1)
        return strength * (share / share.sum()).log()

    def forward(self, batch: StrategyBatch) -> Tensor:
        """Logits float32 [B, K] of a batch."""
        logits: Tensor = self.network(batch["ids"], batch["mask"], batch["speakers"], batch["distances"])
        return logits

    def _loss_terms(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the rows' losses and what it is divided by."""
        if not self.network.spec.multi_label:
            numbers = targets.argmax(dim=1)
            sums, weights = level_terms(
                logits[:, None], numbers[:, None], self.label_counts[None], self.loss, self.adjustment
            )
            return sums[0], weights[0]
        prior = self.label_counts.clamp(min=1) / self.label_counts.clamp(min=1).sum()
        if self.loss == "logit_adjusted":
            logits = logits + self.network.log_prior
        weights = 1 / (len(prior) * prior) if self.loss == "class_weighted" else torch.ones_like(prior)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights
        return losses.sum(), weights.sum() * len(targets)

    def training_step(self, batch: StrategyBatch, batch_idx: int) -> Tensor:
        """The loss of this process's rows, divided by the weights of the whole batch (as in `EmpathyModule`)."""
        total, weight = self._loss_terms(self(batch), batch["targets"])
        world = self.trainer.world_size
        if world > 1:
            dist.all_reduce(weight)
        loss = total / weight * world
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=world > 1, batch_size=len(batch["rows"]))
        return loss

    def _evaluation_step(self, batch: StrategyBatch, stage: Stage) -> dict[str, Any]:
        logits = self(batch)
        total, weight = self._loss_terms(logits, batch["targets"])
        self.losses[stage].update(total / weight, batch["rows"])  # type: ignore[operator]
        values = (logits, batch["targets"], batch["gold"])
        self.tables[stage].update(batch["rows"], batch["groups"], *values)  # type: ignore[operator]
        return {"described": describe_choices(self.network, logits)}

    def validation_step(self, batch: StrategyBatch, batch_idx: int) -> None:
        """Gathers what the validation scores need."""
        self._evaluation_step(batch, "validation")

    def test_step(self, batch: StrategyBatch, batch_idx: int) -> dict[str, Any]:
        """Gathers what the test scores need; the choices go to the prediction writer."""
        return self._evaluation_step(batch, "test")

    def predict_step(self, batch: StrategyBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Choices for a batch of rows."""
        logits = self(batch)
        return {"described": describe_choices(self.network, logits)}

    def evaluated_rows(self, stage: Stage) -> StrategyRows:
        """The rows that were evaluated, gathered over all processes; every process has to call this."""
        table: Tensor = self.tables[stage].compute()  # type: ignore[operator]
        size = len(self.network.spec.labels)
        logits, targets, gold = (table[:, 2 + part * size : 2 + (part + 1) * size] for part in range(3))
        probabilities = self.network.probabilities(logits.to(self.network.log_prior)).double().cpu()
        predicted = logits >= 0 if self.network.spec.multi_label else F.one_hot(logits.argmax(dim=1), size)
        return StrategyRows(
            rows=table[:, 0].long().numpy(),
            groups=table[:, 1].long().numpy(),
            scores=logits.numpy(),
            probabilities=probabilities.numpy(),
            predicted=predicted.double().numpy(),
            targets=targets.numpy(),
            gold=gold.numpy(),
            several=self.network.spec.multi_label,
        )

    def _fit_temperature(self) -> None:
        """Calibrates on the validation rows of all processes."""
        rows = self.evaluated_rows("validation")
        logits = torch.from_numpy(rows.scores) + self.network.log_prior.cpu()
        temperature = fit_temperature(logits, torch.from_numpy(rows.targets), multi_label=self.network.spec.multi_label)
        self.network.temperature.fill_(temperature)

    def _log_scores(self, stage: Stage) -> None:
        scores = strategy_scores(self.evaluated_rows(stage))
        self.log(f"{stage}/loss", self.losses[stage].compute().float())  # type: ignore[operator]
        self.log_dict({f"{stage}/{key}": torch.tensor(value).float() for key, value in scores.items()})

    def on_validation_epoch_end(self) -> None:
        """Fits the temperature while training, and logs the validation scores."""
        if self.trainer.state.fn == "fit":
            self._fit_temperature()
        self._log_scores("validation")
        if self.trainer.state.fn == "fit":
            self.tables["validation"].reset()  # type: ignore[operator]
        self.losses["validation"].reset()  # type: ignore[operator]

    def on_test_epoch_end(self) -> None:
        """Logs the test scores; the run record takes intervals and baselines from `evaluation_record`."""
        self._log_scores("test")

    def evaluation_record(self, stage: Stage) -> EvaluationRecord:
        """Scores with intervals beside the majority's, by source where there are several; a collective call."""
        rows = self.evaluated_rows(stage)
        data = self._data
        prior = self.label_counts.cpu().double().numpy()
        prior = prior if prior.sum() else data.label_counts()
        scores: dict[str, Score] = {}
        for part, members in by_source(data.examples, data.rows[stage]).items():
            kept = rows if members is None else rows.among(members)
            scores |= {f"{stage}/{part}{key}": score for key, score in evaluate_strategies(kept, prior).items()}
        labels = self.network.spec.labels
        matrix = confusion(rows)
        preferences = preference_bias(matrix)[1]
        variant = f"{self.target} turn, {data.label_space}, overlap {data.overlap}, rows as the overlap makes them"
        lines = [["", "value", "95 % interval", "majority"]]
        for key in _SHOWN:
            score, trivial = scores[f"{stage}/{key}"], scores[f"{stage}/{key}_majority"]
            interval = "" if score.low != score.low else f"{score.low:.3f} - {score.high:.3f}"
            lines.append([key, f"{score.value:.3f}", interval, f"{trivial.value:.3f}"])
        shown = ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, preferences, strict=True))
        table = f"{text_table(lines)}\n{stage}: {len(rows.rows)} rows; {variant}\npreferences (1: none): {shown}"
        picture = confusion_svg(matrix, labels, f"{stage}: {variant}")
        return EvaluationRecord(scores, table, variant, files={f"confusion_{stage}.svg": picture})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with the encoder's and the head's rates, linear schedule."""
        named = list(self.network.named_parameters())
        encoder = [(name, values) for name, values in named if name.startswith("encoder.")]
        on_top = [(name, values) for name, values in named if not name.startswith("encoder.")]
        optimiser = build_optimiser(encoder, on_top, self.optimisation)
        schedule = linear_schedule(optimiser, lambda: self.trainer.estimated_stepping_batches, self.optimisation.warmup)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the network and reads dialogues without any other file."""
        checkpoint["task"] = "strategy"
        checkpoint["network"] = self.network.spec.to_state()
        checkpoint["scheme"] = self._data.scheme.to_state()
        checkpoint["reader"] = self._data.format.to_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of other labels."""
        own, theirs = self.network.spec, checkpoint["network"]
        if list(theirs.get("labels", [])) != own.labels:
            raise UserError(
                f"the checkpoint's labels are {', '.join(theirs.get('labels', ['(none)']))}, the data's "
                f"{', '.join(own.labels)}: use the --data.label_space and --data.scheme that it was trained with"
            )
