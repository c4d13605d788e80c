"""`fit`, `validate`, `test` and `predict`: LightningCLI with a run folder for every run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import torch
from jsonargparse import ActionYesNo, ArgumentError, Namespace
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from callbacks.checkpoint_file import CheckpointFile
from callbacks.predictions import PredictionWriter
from callbacks.progress import progress
from callbacks.run_record import RunRecord
from callbacks.step_checkpoint import StepCheckpoint
from callbacks.step_seed import StepSeed
from datamodules.files import replacing
from errors import UserError
from lightning_modules.checkpoints import BEST, LAST, find_checkpoint, read_checkpoint, run_of
from training.arguments import one_line, said_to_user, with_lists, with_run_config
from training.loggers import LoggerChoice, build_loggers, close_wandb
from training.run_folder import base_name, claim_folder, forget_refused

__all__ = ["TrainingCLI", "main"]

_FOLDER = "ATTUNE_RUN_FOLDER"
"""Where the first process tells the processes that Lightning starts which folder it claimed."""

CheckpointChoice = Literal["best", "last"]


class TrainingCLI(LightningCLI):
    """LightningCLI with this project's links, callbacks, loggers and run folder."""

    folder: Path

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._asked_for = options["args"][0]
        super().__init__(*arguments, **options)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is asked for: options of the others would cost a second."""
        return {self._asked_for: LightningCLI.subcommands()[self._asked_for]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options of a run and links the two sides that must agree."""
        parser.add_argument("--run_name", type=str | None, help="name of the run's folder; null: config's name, number")
        parser.add_argument("--runs", type=str, default="runs", help="folder of all runs")
        parser.add_argument("--logger", type=LoggerChoice, default="csv", help="tracker beside the run's metrics.csv")
        parser.add_argument("--project", type=str, default="attune", help="project name in W&B")
        parser.add_argument(
            "--test_checkpoint",
            type=CheckpointChoice,
            default="best",
            help="what is tested after fit: the best by --monitor (the last where no row validates), or the last",
        )
        parser.add_argument(
            "--monitor", type=str, default="validation/level_f1_macro", help="what chooses the best checkpoint"
        )
        parser.add_argument("--monitor_mode", type=Literal["min", "max"], default="max", help="which way is better")
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=PositiveInt | None,
            help="write last.ckpt within epochs too, every so many steps",
        )
        parser.add_argument(
            "--keep_checkpoints",
            type=bool,
            default=True,
            help="leave checkpoints in the run's folder; without them a run can be neither resumed nor used",
        )
        parser.add_argument(
            "--allow_clinical_text",
            action=ActionYesNo(no_prefix="no_"),
            default=False,
            help="let predictions carry the text of clinical rows",
        )
        parser.link_arguments("model.init_args.encoder", "data.init_args.encoder")
        parser.link_arguments("model.init_args.mechanisms", "data.init_args.mechanisms")

    def _parse_ckpt_path(self) -> None:
        """Nothing: Lightning would let a checkpoint's hyper-parameters override the config and the options."""

    def before_instantiate_classes(self) -> None:
        """Claims the run's folder before anything expensive happens."""
        options = self._options
        if options.ckpt_path and options.ckpt_path != "last":
            options.ckpt_path = str(self._usable_checkpoint(options.ckpt_path))
        elif self.subcommand != "fit" and not self._comes_trained(options):
            raise UserError(f"{self.subcommand} is for a trained model; name its run: --ckpt_path RUN")
        if options.checkpoint_every_n_steps and not options.keep_checkpoints:
            raise UserError("--checkpoint_every_n_steps writes what --keep_checkpoints false takes away; leave one out")
        self.folder = self._find_folder(options)
        if "verbose" in options:
            options.verbose = False  # Lightning's table of what ours shows
        if options.ckpt_path == "last":
            file = self.folder / "checkpoints" / LAST
            options.ckpt_path = str(file) if file.is_file() else None

    def _usable_checkpoint(self, run_or_file: str) -> Path:
        """For `fit`, which goes on with a run, its last checkpoint; for the others the one that its protocol tests."""
        continues = self.subcommand == "fit"
        path = find_checkpoint(run_or_file, (LAST,) if continues else (BEST, LAST))
        if continues and "optimizer_states" not in read_checkpoint(path):
            raise UserError(
                f"--ckpt_path {path}: it holds weights alone, so training can't go on from it; "
                f"continue from {LAST}, or start a new run with --model.init_from {path}"
            )
        return path

    @property
    def _options(self) -> Namespace:
        return cast(Namespace, self.config[self.subcommand])

    def _comes_trained(self, options: Namespace) -> bool:
        """A pretrained language model can answer without more training; every other model's heads are random."""
        return str(options.model.class_path).endswith(".StrategyResponder") and options.model.init_args.small is None

    def _find_folder(self, options: Namespace) -> Path:
        if getattr(rank_zero_only, "rank", 0) != 0:
            return Path(os.environ.get(_FOLDER) or Path(options.runs, options.run_name or ""))
        runs = Path(options.runs)
        base = base_name([str(path) for path in options.config or []])
        folder = self._continued(options, runs)
        if folder is None:
            folder = claim_folder(runs, options.run_name, base)
        os.environ[_FOLDER] = str(folder)
        return folder

    def _continued(self, options: Namespace, runs: Path) -> Path | None:
        """The existing run that this command goes on with: an interrupted `fit`, or the run that `predict` reads."""
        if not options.ckpt_path:
            return None
        if options.ckpt_path == "last":
            if options.run_name is None:
                raise UserError("--ckpt_path last needs --run_name: the run to continue")
            folder = runs / options.run_name
            return folder if (folder / "config.yaml").is_file() else None
        run = run_of(Path(options.ckpt_path))
        if run is None or (options.run_name and (runs / options.run_name).resolve() != run):
            return None
        unfinished = self.subcommand == "fit" and not (run / "metrics.json").is_file()
        return run if unfinished or self.subcommand == "predict" else None

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds what every run has: record, checkpoints, progress, step seeds, loggers."""
        options = self._options
        trainer = self._get(self.config_init, "trainer")
        protocol = {"seed": options.seed_everything, "checkpoint": options.ckpt_path}
        self.record = RunRecord(self.folder, self._write_config, protocol)
        extra: list[Callback] = [
            self.record,
            PredictionWriter(self.record, options.allow_clinical_text),
            StepSeed(int(options.seed_everything)),
        ]
        if trainer.get("enable_progress_bar") is not False:
            bar = progress()
            kwargs["enable_progress_bar"] = isinstance(bar, ProgressBar)
            extra.append(bar)
        if self.subcommand == "fit" and not trainer.get("fast_dev_run"):
            checkpoints = self._checkpoint_callbacks(options)
            extra += checkpoints
            if not checkpoints:
                kwargs["enable_checkpointing"] = False
        kwargs["default_root_dir"] = str(self.folder)
        if trainer.get("logger") in (None, True):
            kwargs["logger"] = build_loggers(options.logger, self.record, options.project, self._plain_config())
        kwargs["plugins"] = [*(trainer.get("plugins") or []), CheckpointFile()]
        kwargs["callbacks"] = [*(trainer.get("callbacks") or []), *extra]
        return super().instantiate_trainer(**kwargs)

    def _checkpoint_callbacks(self, options: Namespace) -> list[Callback]:
        place = str(self.folder / "checkpoints")
        shared: dict[str, Any] = {"dirpath": place, "enable_version_counter": False, "auto_insert_metric_name": False}
        callbacks: list[Callback] = []
        if options.keep_checkpoints:
            callbacks.append(ModelCheckpoint(**shared, filename=Path(LAST).stem, save_on_train_epoch_end=True))
        if options.checkpoint_every_n_steps:
            callbacks.append(StepCheckpoint(self.record, options.checkpoint_every_n_steps))
        if options.test_checkpoint == "best":
            callbacks.append(
                ModelCheckpoint(
                    **shared,
                    filename=Path(BEST).stem,
                    monitor=options.monitor,
                    mode=options.monitor_mode,
                    save_weights_only=True,
                    save_on_train_epoch_end=False,
                )
            )
        return callbacks

    def _plain_config(self) -> dict[str, Any]:
        parser = self._parser(self.subcommand)
        text = parser.dump(self._options, format="json", skip_unset=False, skip_validation=True)
        return cast(dict[str, Any], json.loads(text))

    def _write_config(self, path: Path) -> None:
        """Writes the configuration as another run can take it: without this run's name and what a fit went on from."""
        options = self._options.clone()
        options.run_name = None
        if self.subcommand == "fit":
            options.ckpt_path = None
        text = self._parser(self.subcommand).dump(options, skip_unset=False, skip_validation=True)
        with replacing(path) as file:
            file.write(text)

    def after_fit(self) -> None:
        """Tests the checkpoint that the protocol names."""
        if self.trainer.interrupted:
            return
        if self.datamodule.rows["test"]:
            self._test_fitted()
        if not self._options.keep_checkpoints and self.trainer.is_global_zero:
            shutil.rmtree(self.record.folder / "checkpoints", ignore_errors=True)

    def _test_fitted(self) -> None:
        place = self.record.folder / "checkpoints"
        self.trainer.strategy.barrier("checkpoints written")
        names = (BEST, LAST) if self._options.test_checkpoint == "best" else (LAST,)
        chosen = [place / name for name in names if (place / name).is_file()]
        path = str(chosen[0]) if chosen else None
        self.record.protocol["checkpoint"] = Path(path or LAST).stem
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)


def _quiet() -> None:
    """Keeps Lightning's advice and advertising off the screen; what matters is printed by the run record."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a kernel it would rather have
    for pattern in (
        r".*does not have many workers.*", r".*Found \d+ module\(s\) in eval mode.*", r".*logging interval.*",
        r".*exists and is not empty.*", r".*isinstance\(treespec, LeafSpec\).*", r".*srun. command.*",
        r".*not resumable.*", r".*custom batch sampler.*", r"LightningCLI's args parameter is intended.*",
        r".*when using `ckpt_path`, callbacks used.*", r".*dirpath has changed from.*",
        r".*Total length of `?(DataLoader|list|CombinedLoader).*", r".*is_gradient_checkpointing.*",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=pattern)


def main(argv: list[str]) -> int:
    """Runs `fit`, `validate`, `test` or `predict`.

    Args:
        argv: The subcommand and its options.

    Returns:
        The exit status.

    Raises:
        UserError: The options or the data are at fault.
    """
    _quiet()
    torch.set_float32_matmul_precision("high")
    argv = with_run_config(with_lists(argv))
    parser_kwargs = {"exit_on_error": False, "allow_abbrev": False}
    try:
        cli = TrainingCLI(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=12,
            save_config_callback=None,
            auto_configure_optimizers=False,
            parser_kwargs={**parser_kwargs, argv[0]: parser_kwargs},
            trainer_defaults={
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
                "log_every_n_steps": 10,
            },
            args=argv,
        )
    except ArgumentError as error:
        raise UserError(one_line(error, argv)) from None
    except ValueError as error:
        refused = said_to_user(error)
        if refused and _FOLDER in os.environ:
            forget_refused(Path(os.environ[_FOLDER]))
        raise refused or error from None
    except MisconfigurationException as error:
        raise UserError(str(error)) from None
    except SystemExit:  # Lightning's answer to Ctrl+C
        begun = os.environ.get(_FOLDER)
        if begun and Path(begun, "checkpoints", LAST).is_file():
            print(f"interrupted; go on with --ckpt_path {begun}", file=sys.stderr)
        raise
    finally:
        close_wandb()
        folder = os.environ.pop(_FOLDER, None)
        if folder is not None:
            with suppress(OSError):  # it holds something, as a rule
                Path(folder).rmdir()
    if cli.trainer.is_global_zero:
        if cli.record.table:
            print(cli.record.table)
        print(folder or cli.record.folder, flush=True)
    return 0
