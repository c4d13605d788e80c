"""The empathy model's training: the bi-encoder wired to its losses, metrics and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from datamodules.empathy import EmpathyDataModule
from datamodules.pair_batches import EmpathyBatch
from datamodules.records import MECHANISMS, Mechanism
from errors import UserError
from lightning_modules.checkpoints import find_checkpoint, load_network, read_checkpoint
from lightning_modules.empathy_scores import MechanismRows, empathy_record
from lightning_modules.evaluation_record import EvaluationRecord, Stage, by_source
from lightning_modules.losses import LevelLoss, level_terms, published_token_labels, rationale_terms
from lightning_modules.networks.bi_encoder import BiEncoder, BiEncoderOutput, NetworkSpec, SeekerEncoder
from lightning_modules.networks.decisions import Decisions, Decoding, decide
from lightning_modules.optimisation import Optimisation, build_optimiser, linear_schedule
from lightning_modules.seeker_cache import SeekerCache
from metrics.levels import LevelScores
from metrics.loss import OrderedMean
from metrics.rationales import RationaleScores
from pretrained import encoder_window, load_encoder

__all__ = ["EmpathyModule"]


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}


class EmpathyModule(L.LightningModule):
    """Empathy levels and rationale spans for any subset of EPITOME's mechanisms, by one bi-encoder.

    Args:
        encoder: The pretrained encoder: a folder, a verified package's or the hub's name. Both sides start from it.
        mechanisms: The mechanisms, each with a level head and a rationale head; null: all three.
        seeker_encoder: `frozen`: an encoder of its own that isn't trained, its states computed once. `trained`: an
            encoder of its own that is. `shared`: the response encoder reads both. `none`: the seeker post isn't read.
        pooling: What the level head reads: the `first` token, or the `mean` of the tokens.
        dropout: Dropout of the heads and the cross-attention.
        mask_seeker_padding: Whether the cross-attention leaves seeker padding out; the published code doesn't.
        seeker_dropout: Keep dropout active in the frozen seeker encoder as the published code does; its states can't be
            cached then.
        level_loss: `plain` cross-entropy, `class_weighted` or `logit_adjusted` (see `losses.level_terms`).
        adjustment: Strength of the logit adjustment.
        lambda_EI: Weight of the level loss (empathy identification).
        lambda_RE: Weight of the rationale loss (rationale extraction).
        rationale_targets: `annotated`: rows with a rationale, ordinary tokens. `published`: every row, one without a
            rationale being a rationale as a whole.
        decoding: How probabilities become levels and rationales.
        optimisation: Optimiser and schedule.
        init_from: A run or checkpoint whose weights to start from (heads of the same mechanism included).
        init_seed: Seed of the heads' initial weights.
        compile: Compile the trained encoders with torch.compile; pays on long GPU runs only.
    """

    def __init__(
        self,
        encoder: str = "roberta-base",
        mechanisms: list[Mechanism] | None = None,
        seeker_encoder: SeekerEncoder = "frozen",
        pooling: Literal["first", "mean"] = "first",
        dropout: float = 0.1,
        mask_seeker_padding: bool = True,
        seeker_dropout: bool = False,
        level_loss: LevelLoss = "plain",
        adjustment: float = 1.0,
        lambda_EI: float = 1.0,  # noqa: N803
        lambda_RE: float = 0.5,  # noqa: N803
        rationale_targets: Literal["annotated", "published"] = "annotated",
        decoding: Decoding | None = None,
        optimisation: Optimisation | None = None,
        init_from: str | None = None,
        init_seed: int = 0,
        compile: bool = False,  # noqa: A002
    ) -> None:
        super().__init__()
        self.mechanisms: list[Mechanism] = list(dict.fromkeys(mechanisms or MECHANISMS))
        unknown = [name for name in self.mechanisms if name not in MECHANISMS]
        if unknown:
            raise UserError(f"--model.mechanisms: {unknown} are none of {', '.join(MECHANISMS)}")
        self.seeker_dropout = seeker_dropout
        self.level_loss: LevelLoss = level_loss
        self.adjustment = adjustment
        self.lambda_EI = lambda_EI
        self.lambda_RE = lambda_RE
        self.rationale_targets = rationale_targets
        self.decoding = decoding or Decoding()
        self.optimisation = optimisation or Optimisation()
        response = load_encoder(encoder)
        seeker = load_encoder(encoder) if seeker_encoder in ("frozen", "trained") else None
        config = response.config.to_dict()
        spec = NetworkSpec(self.mechanisms, seeker_encoder, pooling, dropout, mask_seeker_padding, config)
        self.network = BiEncoder(spec, response, seeker, init_seed)
        if init_from is not None:
            self._start_from(find_checkpoint(init_from))
        if compile:
            for part in (self.network.response, self.network.seeker if seeker_encoder == "trained" else None):
                if part is not None:
                    part.compile(dynamic=True)
        self.level_counts: Tensor
        self.register_buffer("level_counts", torch.zeros(len(self.mechanisms), 3))
        stages: tuple[Stage, ...] = ("validation", "test")
        self.level_metrics = nn.ModuleDict({stage: self._per_mechanism(LevelScores) for stage in stages})
        self.rationale_metrics = nn.ModuleDict({stage: self._per_mechanism(RationaleScores) for stage in stages})
        self.losses = nn.ModuleDict({stage: OrderedMean() for stage in stages})
        self.seeker_cache: SeekerCache | None = None

    def _loss(self, stage: Stage) -> OrderedMean:
        return cast(OrderedMean, self.losses[stage])

    def _metrics(self, stage: Stage) -> list[tuple[str, LevelScores, RationaleScores]]:
        levels, rationales = (cast(nn.ModuleDict, kind[stage]) for kind in (self.level_metrics, self.rationale_metrics))
        return [
            (name, cast(LevelScores, levels[name]), cast(RationaleScores, rationales[name])) for name in self.mechanisms
        ]

    def _per_mechanism(self, metric: type[LevelScores] | type[RationaleScores]) -> nn.ModuleDict:
        return nn.ModuleDict({name: metric() for name in self.mechanisms})

    def _start_from(self, path: Path) -> None:
        """Copies another run's encoders and attention, and the heads of the mechanisms that both have."""
        source = load_network(read_checkpoint(path))
        own, theirs = (_shapes(network.response.state_dict()) for network in (self.network, source))
        if own != theirs:
            raise UserError(
                f"--model.init_from {path}: its encoder is another than --model.encoder (width, layers or vocabulary); "
                "use the same encoder"
            )
        self.network.response.load_state_dict(source.response.state_dict())
        for name in ("seeker", "attention"):
            mine, theirs = getattr(self.network, name), getattr(source, name)
            if mine is not None and theirs is not None:
                mine.load_state_dict(theirs.state_dict())
        for place, mechanism in enumerate(self.mechanisms):
            if mechanism in source.spec.mechanisms:
                there = list(source.spec.mechanisms).index(mechanism)
                for heads in ("level_heads", "rationale_heads"):
                    state = getattr(source, heads)[there].state_dict()
                    getattr(self.network, heads)[place].load_state_dict(state)

    @property
    def _data(self) -> EmpathyDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, EmpathyDataModule)
        return data

    @property
    def _caches_seeker(self) -> bool:
        return self.network.spec.seeker_encoder == "frozen" and not self.seeker_dropout

    def train(self, mode: bool = True) -> EmpathyModule:
        """Sets the mode; a frozen seeker encoder stays in evaluation mode unless its dropout is asked for."""
        super().train(mode)
        if self.network.seeker is not None and self._caches_seeker:
            self.network.seeker.eval()
        return self

    def setup(self, stage: str) -> None:
        """Checks the window against the encoder and takes the level counts of the training rows."""
        limit = encoder_window(self.network.spec.encoder_config)
        if limit is not None and self._data.max_tokens > limit:
            raise UserError(f"--data.max_tokens is {self._data.max_tokens}; the encoder reads at most {limit}")
        if stage == "fit":
            self.level_counts.copy_(torch.from_numpy(self._data.level_counts()))

    def _build_seeker_cache(self) -> None:
        if not self._caches_seeker or self.seeker_cache is not None:
            return
        data = self._data
        self.seeker_cache = SeekerCache.build(
            self.network, data.seeker_posts, data.post_parts(), data.text_encoder.pad_id, self.device, data.cache
        )

    def on_fit_start(self) -> None:
        """Computes the frozen seeker states."""
        self._build_seeker_cache()

    on_predict_start = on_fit_start

    def on_validation_start(self) -> None:
        """Forgets the rows of an earlier validation."""
        self._build_seeker_cache()
        self._forget("validation")

    def on_test_start(self) -> None:
        """Forgets the rows of an earlier test."""
        self._build_seeker_cache()
        self._forget("test")

    def forward(self, batch: EmpathyBatch) -> BiEncoderOutput:
        """Logits of a batch."""
        states: Tensor | None = None
        if self.seeker_cache is not None:
            states = self.seeker_cache.batch(batch["posts"], batch["seeker_mask"])
        elif self.network.attention is not None:
            states = self.network.encode_seeker(batch["seeker_ids"], batch["seeker_mask"])
        output: BiEncoderOutput = self.network(
            batch["response_ids"], batch["response_mask"], states, batch["seeker_mask"]
        )
        return output

    def _loss_terms(self, output: BiEncoderOutput, batch: EmpathyBatch) -> tuple[Tensor, Tensor]:
        """Sums [2M] of level and rationale losses, and what they are divided by [2M]."""
        levels = level_terms(output.level_logits, batch["levels"], self.level_counts, self.level_loss, self.adjustment)
        labels = batch["token_labels"]
        if self.rationale_targets == "published":
            labels = published_token_labels(labels, batch["levels"], batch["response_mask"])
        rationales = rationale_terms(output.rationale_logits, labels)
        return torch.cat([levels[0], rationales[0]]), torch.cat([levels[1], rationales[1]])

    def _total(self, sums: Tensor, weights: Tensor) -> Tensor:
        """lambda_EI * level loss + lambda_RE * rationale loss, summed over mechanisms (Sharma et al. 2020, eq. 4)."""
        means = (sums / weights.clamp(min=1e-9)).view(2, -1)
        return self.lambda_EI * means[0].sum() + self.lambda_RE * means[1].sum()

    def training_step(self, batch: EmpathyBatch, batch_idx: int) -> Tensor:
        """The loss of this process's rows, divided by the weights of the whole batch.

        Gradients are averaged over processes afterwards, so the sum is scaled by their number: the step is that of one
        process with the whole batch, whichever way the rows were dealt.
        """
        sums, weights = self._loss_terms(self(batch), batch)
        world = self.trainer.world_size
        if world > 1:
            dist.all_reduce(weights)
        loss = self._total(sums, weights) * world
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=world > 1, batch_size=len(batch["rows"]))
        return loss

    def _evaluation_step(self, batch: EmpathyBatch, stage: Stage) -> Decisions:
        output = self(batch)
        sums, weights = self._loss_terms(output, batch)
        rows, groups = batch["rows"], batch["groups"]
        self._loss(stage).update(self._total(sums, weights), rows)
        decisions = decide(output, batch["clauses"], self.level_counts, self.decoding)
        annotated = batch["levels"] >= 0
        published = published_token_labels(batch["token_labels"], batch["levels"], batch["response_mask"])
        window = self._data.max_tokens
        tokens = decisions.tokens
        if not self._data.pad_to_window:
            tokens = tokens & batch["response_mask"][:, None, :]
        for place, (_, of_levels, of_rationales) in enumerate(self._metrics(stage)):
            gold = batch["levels"][:, place]
            of_levels.update(decisions.levels[:, place], gold, rows, groups)
            of_rationales.update(
                predicted=tokens[:, place],
                gold_tokens=published[:, place],
                response_lengths=batch["response_mask"].sum(dim=1),
                offsets=batch["offsets"],
                words=batch["words"],
                gold_words=batch["gold_words"][:, place],
                scored=(gold > 0) & batch["has_rationale"][:, place],
                annotated=annotated[:, place],
                window=window,
                rows=rows,
                groups=groups,
            )
        return decisions

    def validation_step(self, batch: EmpathyBatch, batch_idx: int) -> None:
        """Gathers what the validation metrics need."""
        self._evaluation_step(batch, "validation")

    def test_step(self, batch: EmpathyBatch, batch_idx: int) -> Decisions:  # type: ignore[override]
        """Gathers what the test metrics need; the decisions go to the prediction writer."""
        return self._evaluation_step(batch, "test")

    def predict_step(self, batch: EmpathyBatch, batch_idx: int, dataloader_idx: int = 0) -> Decisions:
        """Decisions for a batch of rows."""
        return decide(self(batch), batch["clauses"], self.level_counts, self.decoding)

    def evaluation_record(self, stage: Stage) -> EvaluationRecord:
        """Scores with intervals beside the trivial baselines', by source where there are several; a collective call."""
        rows = {
            name: MechanismRows(levels.table(), rationales.table()) for name, levels, rationales in self._metrics(stage)
        }
        data = self._data
        counts = self.level_counts if self.level_counts.any() else torch.from_numpy(data.level_counts())
        majority = dict(zip(self.mechanisms, counts.argmax(dim=1).tolist(), strict=True))
        return empathy_record(stage, rows, majority, by_source(data.pairs, data.rows[stage]))

    def _log_scores(self, stage: Stage) -> None:
        scores: dict[str, Tensor] = {f"{stage}/loss": self._loss(stage).compute()}
        for name, levels, rationales in self._metrics(stage):
            found: Mapping[str, Tensor] = {**levels.compute(), **rationales.compute()}
            scores |= {f"{stage}/{name}/{key}": value for key, value in found.items()}
        for key in ("level_accuracy", "level_f1_macro", "rationale_f1"):
            values = [float(scores[f"{stage}/{name}/{key}"]) for name in self.mechanisms]
            scores[f"{stage}/{key}"] = torch.tensor(float(np.mean(values)))
        self.log_dict({key: value.float() for key, value in scores.items()}, prog_bar=False)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation scores; the rows stay for the run record."""
        self._log_scores("validation")

    def on_test_epoch_end(self) -> None:
        """Logs the test scores; the run record takes intervals and baselines from `evaluation_record`."""
        self._log_scores("test")

    def _forget(self, stage: Stage) -> None:
        for _, levels, rationales in self._metrics(stage):
            levels.reset()
            rationales.reset()
        self._loss(stage).reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with the encoders' and the heads' rates, linear schedule."""
        encoders = [*self.network.response.named_parameters()]
        if self.network.seeker is not None:
            encoders += self.network.seeker.named_parameters()
        on_top = [
            (name, parameter)
            for name, parameter in self.network.named_parameters()
            if not name.startswith(("response.", "seeker."))
        ]
        optimiser = build_optimiser(encoders, on_top, self.optimisation)
        schedule = linear_schedule(optimiser, lambda: self.trainer.estimated_stepping_batches, self.optimisation.warmup)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the network and its decisions without any other file."""
        checkpoint["network"] = self.network.spec.to_state()
        checkpoint["decoding"] = asdict(self.decoding)
        checkpoint["text_encoder"] = self._data.text_encoder.to_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses another network's weights; forgets cached seeker states, which another encoder may have made."""
        loaded = checkpoint["state_dict"]
        if _shapes(self.state_dict()) != _shapes(loaded):
            raise UserError(
                "--ckpt_path: the checkpoint is of another network than the configured one (encoder, mechanisms, "
                "seeker_encoder); leave --config out to take the run's own configuration"
            )
        own = self.network.seeker.state_dict() if self.network.seeker is not None else {}
        if any(not torch.equal(values.cpu(), loaded[f"network.seeker.{name}"]) for name, values in own.items()):
            self.seeker_cache = None
