"""The strategy-tagged responder: what a supporter could say next.

Legend: B rows, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from datamodules.contexts import ResponderFormat, TurnEncoder
from datamodules.dialogue import DialogueDataModule
from datamodules.dialogue_batches import ResponderBatch
from datamodules.splits import seeded_key
from datamodules.turn_rows import RowRule
from errors import UserError
from lightning_modules.choices import StrategyJudge, StrategyPolicy, TurnContext
from lightning_modules.evaluation_record import EvaluationRecord, Stage
from lightning_modules.networks.causal_lm import add_tags
from lightning_modules.networks.decoding import Decoding
from lightning_modules.networks.responder import (
    Lora,
    ResponderNetwork,
    ResponderSpec,
    SmallModel,
    Weights,
    build_small,
    train_tokenizer,
)
from lightning_modules.optimisation import Optimisation, build_optimiser, linear_schedule
from lightning_modules.responder_scores import Written, responder_record
from metrics.generation import perplexity
from metrics.row_table import RowTable
from pretrained import load_causal_lm, load_tokenizer

__all__ = ["StrategyResponder"]


class StrategyResponder(L.LightningModule):
    """A causal language model that continues a dialogue, a token for the strategy before the response if asked for.

    `test` takes the loss of every row and writes responses under each policy, in the order given; without any policy it
    only takes the loss.

    Args:
        language_model: Name or folder of a pretrained causal language model.
        small: Build a small GPT-2 with a tokenizer trained on the training split instead; for tests, demonstration and
            timing.
        tagged: Put the strategy's tag in front of the response.
        tag_in_loss: Whether the tag is learnt to be predicted too; the policy `model` needs that.
        max_response_tokens: Tokens of a response at most.
        weights: Load a pretrained model's weights as they are (`full`) or quantised (`8bit`, `4bit`), which needs
            `lora`.
        lora: Train low-rank adapters (and the tags' embeddings) instead of all weights.
        decoding: How responses are written.
        policies: Where the strategy comes from in `test` and `predict`, see `inference.policies`; null: none.
        judge: Recognises strategies in responses, for the score of obedience (`inference.policies.ClassifierJudge`).
        bert_score: Name or folder of an encoder for BERTScore of the responses; null: none.
        written_rows: Test rows that responses are written to, drawn by the decoding's seed; null: all.
        optimisation: Optimiser and schedule; `head_lr` is the rate of the tags' rows where only they train.
        init_seed: Seed of a small model's weights.
        compile: Compile the model with torch.compile; pays on long GPU runs only.
    """

    network: ResponderNetwork
    tables: nn.ModuleDict

    def __init__(
        self,
        language_model: str = "microsoft/DialoGPT-small",
        small: SmallModel | None = None,
        tagged: bool = True,
        tag_in_loss: bool = True,
        max_response_tokens: int = 64,
        weights: Weights = "full",
        lora: Lora | None = None,
        decoding: Decoding | None = None,
        policies: list[StrategyPolicy] | None = None,
        judge: StrategyJudge | None = None,
        bert_score: str | None = None,
        written_rows: int | None = None,
        optimisation: Optimisation | None = None,
        init_seed: int = 0,
        compile: bool = False,  # noqa: A002
    ) -> None:
        super().__init__()
        self.language_model = "" if small is not None else language_model
        self.small = small
        self.tagged = tagged
        self.tag_in_loss = tag_in_loss
        self.max_response_tokens = max_response_tokens
        self.weights: Weights = weights
        self.lora = lora
        self.decoding = decoding or Decoding()
        self.policies = list(policies or [])
        self.judge = judge
        self.bert_score = bert_score
        self.written_rows = written_rows
        self.optimisation = optimisation or Optimisation(lr=5e-5)
        self.init_seed = init_seed
        self.compile_model = compile
        if weights != "full" and (lora is None or small is not None):
            raise UserError(
                f"--model.weights {weights}: quantised weights of a pretrained model don't train; add --model.lora"
            )
        names = [policy.name for policy in self.policies]
        if len(set(names)) < len(names):
            raise UserError(f"--model.policies names one policy twice: {', '.join(names)}")
        self.strict_loading = lora is None
        self._written: dict[int, dict[str, Written]] = {}

    def row_rules(self, rule: RowRule) -> tuple[RowRule, RowRule]:
        """Tagged rows train as the overlap says; rows that evaluate, and rows without tags, are one for each turn."""
        one = rule if rule.overlap == "random" else replace(rule, overlap="priority")
        if not self.tagged:
            one = replace(one, labelled=False)
            return one, one
        if rule.overlap == "multi":
            raise UserError("--data.overlap multi: a response has one tag; use each, random or priority")
        return rule, one

    def row_format(self, data: DialogueDataModule, texts: Callable[[], Iterable[str]]) -> ResponderFormat:
        """Loads or builds the language model for the DataModule's labels."""
        if self.small is not None:
            description, end_id = train_tokenizer(texts(), self.small.vocabulary), 0
            vocabulary = TurnEncoder(description).tokenizer.get_vocab_size()
            model = build_small(self.small, vocabulary, self.init_seed)
        else:
            tokenizer = load_tokenizer(self.language_model)
            if tokenizer.eos_token_id is None:
                raise UserError(f"--model.language_model {self.language_model}: its tokenizer has no end token")
            description, end_id = tokenizer.backend_tokenizer.to_str(), int(tokenizer.eos_token_id)
            model = load_causal_lm(self.language_model, self.weights)
        row_format = self._build(data, model, description, end_id)
        self.tables = nn.ModuleDict({stage: RowTable(4) for stage in ("validation", "test")})
        return row_format

    def _build(self, data: DialogueDataModule, model: Any, description: str, end_id: int) -> ResponderFormat:
        labels = list(data.labels)
        encoder = TurnEncoder(description)
        tags = (
            add_tags(model, [ids.tolist() for ids in encoder.encode([f" {label}" for label in labels])])
            if self.tagged
            else []
        )
        spec = ResponderSpec(
            labels=labels,
            label_space=data.label_space,
            tag_ids=tags,
            language_model=self.language_model,
            weights=self.weights,
            lora=asdict(self.lora) if self.lora is not None else None,
            config=model.config.to_dict() if self.lora is None else {},
            tag_in_loss=self.tag_in_loss,
        )
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is not None and data.max_tokens > limit:
            raise UserError(f"--data.max_tokens is {data.max_tokens}; the language model reads at most {limit}")
        self.network = ResponderNetwork(spec, model)
        if self.compile_model:
            self.network.body.compile(dynamic=True)
        return ResponderFormat(
            encoder,
            end_id,
            dict(zip(labels, tags, strict=False)),
            data.max_tokens,
            self.max_response_tokens,
            data.max_turns,
            merged=data.merge_turns,
        )

    @property
    def _data(self) -> DialogueDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DialogueDataModule)
        return data

    @property
    def _format(self) -> ResponderFormat:
        row_format = self._data.format
        assert isinstance(row_format, ResponderFormat)
        return row_format

    def setup(self, stage: str) -> None:
        """Takes the label counts of the training rows and introduces the policies to the model."""
        if stage == "fit":
            self.network.label_counts.copy_(torch.from_numpy(self._data.label_counts()))
        for policy in self.policies:
            policy.attach(self.network, self._format)

    def training_step(self, batch: ResponderBatch, batch_idx: int) -> Tensor:
        """The loss of this process's rows, divided by the tokens of the whole batch (as in `EmpathyModule`)."""
        found = self.network.losses(batch)
        total, tokens = found.response.sum(), found.response_tokens.sum()
        if self.tag_in_loss:
            total, tokens = total + found.tag.sum(), tokens + found.tag_tokens.sum()
        world = self.trainer.world_size
        if world > 1:
            dist.all_reduce(tokens)
        loss: Tensor = total / tokens.clamp(min=1) * world
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=world > 1, batch_size=len(batch["rows"]))
        return loss

    def _take_losses(self, batch: ResponderBatch, stage: Stage) -> None:
        found = self.network.losses(batch)
        self.tables[stage].update(batch["rows"], batch["groups"], *found)  # type: ignore[operator]

    def validation_step(self, batch: ResponderBatch, batch_idx: int) -> None:
        """Gathers the losses."""
        self._take_losses(batch, "validation")

    def test_step(self, batch: ResponderBatch, batch_idx: int) -> dict[str, Any]:
        """Gathers the losses and writes responses."""
        self._take_losses(batch, "test")
        return self._write(batch)

    def predict_step(self, batch: ResponderBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Writes responses."""
        return self._write(batch)

    def _chosen_rows(self) -> set[int]:
        """The rows that responses are written to; those of a smaller number are among those of a larger one."""
        data = self._data
        rows = {row for members in data.rows.values() for row in members}
        if self.trainer.state.fn != "predict":
            rows = set(data.rows["test"])
        ordered = sorted(rows, key=lambda row: seeded_key(self.decoding.seed, data.examples[row].uid))
        return set(ordered[: self.written_rows])

    def on_test_start(self) -> None:
        """Chooses the rows."""
        self._written = {}
        self._rows_to_write = self._chosen_rows()

    on_predict_start = on_test_start

    def _write(self, batch: ResponderBatch) -> dict[str, Any]:
        data, rows = self._data, batch["rows"].tolist()
        described: dict[int, dict[str, Any]] = {row: {"responses": {}, "strategies": {}} for row in rows}
        chosen = [row for row in rows if row in self._rows_to_write]
        contexts = []
        for row in chosen:
            example = data.examples[row]
            turns = data.dialogues[example.dialogue].turns[: example.turn]
            gold = example.labels[0] if example.labels else None
            contexts.append(TurnContext(example.uid, turns, data.tokens[example.dialogue][: example.turn], gold))
        for policy in self.policies if chosen else ():
            choices = policy.choose(contexts)
            responses = self.network.write(
                self._format,
                [context.tokens for context in contexts],
                [choice.label for choice in choices],
                [f"{policy.name}:{context.key}" for context in contexts],
                self.decoding,
            )
            recognised = self.judge.recognise(contexts, responses) if self.judge else [None] * len(chosen)
            for row, choice, response, label in zip(chosen, choices, responses, recognised, strict=True):
                self._written.setdefault(row, {})[policy.name] = Written(response, choice.label, label)
                described[row]["responses"][policy.name] = response
                described[row]["strategies"][policy.name] = choice.label
        return {"described": [described[row] for row in rows]}

    def _log_losses(self, stage: Stage) -> None:
        table = self.tables[stage].compute()[:, 2:].sum(dim=0).tolist()  # type: ignore[operator]
        response, tokens, tag, tag_tokens = table
        total = response + (tag if self.tag_in_loss else 0.0)
        count = tokens + (tag_tokens if self.tag_in_loss else 0.0)
        self.log(f"{stage}/loss", torch.tensor(total / count if count else float("nan")))
        self.log(f"{stage}/perplexity", torch.tensor(perplexity(response, int(tokens))))

    def on_validation_epoch_end(self) -> None:
        """Logs loss and perplexity."""
        self._log_losses("validation")
        if self.trainer.state.fn == "fit":
            self.tables["validation"].reset()  # type: ignore[operator]

    def on_test_epoch_end(self) -> None:
        """Logs loss and perplexity; the run record takes the rest from `evaluation_record`."""
        self._log_losses("test")

    def evaluation_record(self, stage: Stage) -> EvaluationRecord:
        """Perplexities, and the scores of what was written under each policy; a collective call."""
        written = self._written
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            dist.all_gather_object(gathered, written)
            written = {row: found for part in gathered for row, found in part.items()}
        losses: Tensor = self.tables[stage].compute()  # type: ignore[operator]
        policies = [policy.name for policy in self.policies] if stage == "test" else []
        encoder = self.bert_score if policies else None
        return responder_record(stage, losses.numpy(), written, self._data, policies, self.decoding, encoder)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a linear schedule; the tags' own rows, where they are apart, learn at the heads' rate."""
        named = [(name, values) for name, values in self.network.named_parameters() if values.requires_grad]
        tags = [(name, values) for name, values in named if "trainable_tokens" in name]
        rest = [(name, values) for name, values in named if "trainable_tokens" not in name]
        optimiser = build_optimiser(rest, tags, self.optimisation)
        schedule = linear_schedule(optimiser, lambda: self.trainer.estimated_stepping_batches, self.optimisation.warmup)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the network; with adapters, keeps only what they changed."""
        checkpoint["task"] = "responder"
        checkpoint["network"] = self.network.spec.to_state()
        checkpoint["scheme"] = self._data.scheme.to_state()
        checkpoint["reader"] = self._format.to_state()
        checkpoint["decoding"] = asdict(self.decoding)
        if not self.network.spec.whole:
            kept = {f"network.{name}" for name, values in self.network.named_parameters() if values.requires_grad}
            kept |= {"network.tag_ids", "network.label_counts"}
            checkpoint["state_dict"] = {
                name: values for name, values in checkpoint["state_dict"].items() if name in kept
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another kind; takes over the tokenizer that a small model was trained with."""
        own, theirs = self.network.spec, checkpoint["network"]
        if (
            checkpoint.get("task") != "responder"
            or theirs["labels"] != own.labels
            or len(theirs["tag_ids"]) != len(own.tag_ids)
        ):
            raise UserError(
                "the checkpoint is no responder with the same labels and tags; use the --data.label_space, "
                "--data.scheme and --model.tagged that it was trained with"
            )
        if self.small is not None and checkpoint["reader"]["encoder"] != self._format.encoder.description:
            if self.trainer.state.fn == "fit":
                raise UserError(
                    "the training rows are not those of the checkpoint; its tokenizer was trained on others"
                )
            spec = ResponderSpec(**theirs)
            self.network = ResponderNetwork.empty(spec).to(self.device)
            self._data.set_format(ResponderFormat.from_state(checkpoint["reader"]))
            for policy in self.policies:
                policy.attach(self.network, self._format)
