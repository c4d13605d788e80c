"""What one joint run costs beside three published-recipe runs, in CPU seconds of training.

Run: python benchmarks/joint_cost.py DATA [--rounds 2]
Same small encoder, precision (float32), batch and 64 tokens; 256 tokens beside it. One epoch a measurement, all kinds
in turn within each round; what isn't per epoch (the frozen seeker states, computed once per corpus and cached) is
printed apart.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections import defaultdict
from statistics import median

import lightning as L

from callbacks.step_seed import StepSeed
from datamodules.empathy import EmpathyDataModule
from datamodules.records import MECHANISMS, Mechanism
from lightning_modules.empathy import EmpathyModule
from lightning_modules.networks.decisions import Decoding
from lightning_modules.optimisation import Optimisation

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
EPOCHS = 4


def joint(data: str, cache: str, tokens: int) -> tuple[EmpathyModule, EmpathyDataModule]:
    """The model of configs/empathy_small.yaml."""
    return (
        EmpathyModule(ENCODER, optimisation=Optimisation(lr=2e-4, head_lr=1e-3)),
        EmpathyDataModule(reddit=data, encoder=ENCODER, max_tokens=tokens, cache=cache),
    )


def published(data: str, cache: str, mechanism: Mechanism) -> tuple[EmpathyModule, EmpathyDataModule]:
    """The model of configs/empathy_published.yaml, on the grouped split."""
    model = EmpathyModule(
        ENCODER,
        mechanisms=[mechanism],
        seeker_dropout=True,
        mask_seeker_padding=False,
        rationale_targets="published",
        decoding=Decoding(unit="token", threshold=0.5, floor=2.0),
        optimisation=Optimisation(lr=2e-5, warmup=0.0),
    )
    module = EmpathyDataModule(
        reddit=data, encoder=ENCODER, mechanisms=[mechanism], max_tokens=64, bucketed=False, pad_to_window=True,
        rationale_search="published", drop_retokenised=True, cache=cache,
    )  # fmt: skip
    return model, module


def epoch_cost(parts: tuple[EmpathyModule, EmpathyDataModule]) -> tuple[float, float]:
    """CPU seconds of one epoch's steps, and of what comes before the first of them."""
    model, data = parts
    L.seed_everything(12, verbose=False)
    data.setup()
    marks: list[float] = []

    class Clock(L.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            if not marks:
                marks.append(time.process_time())

        def on_train_epoch_end(self, *_: object) -> None:
            marks.append(time.process_time())

    trainer = L.Trainer(
        max_epochs=1, gradient_clip_val=1.0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0, accelerator="cpu",
        callbacks=[StepSeed(12), Clock()],
    )  # fmt: skip
    began = time.process_time()
    trainer.fit(model, datamodule=data)
    return marks[1] - marks[0], marks[0] - began


def main() -> None:
    """Measures in rounds and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    epochs: dict[str, list[float]] = defaultdict(list)
    before: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            kinds = {f"joint, {tokens} tokens": joint(options.data, cache, tokens) for tokens in (64, 256)}
            kinds |= {f"published, {name}": published(options.data, cache, name) for name in MECHANISMS}
            for kind, parts in kinds.items():
                steps, start = epoch_cost(parts)
                epochs[kind].append(steps)
                before[kind].append(start)
                print(f"round {number + 1}: {kind}: {steps:.1f} s an epoch, {start:.1f} s before it", flush=True)
    three = EPOCHS * sum(median(epochs[f"published, {name}"]) for name in MECHANISMS)
    print(f"three published-recipe runs, {EPOCHS} epochs: {three:.0f} CPU seconds")
    for tokens in (64, 256):
        kind = f"joint, {tokens} tokens"
        whole = EPOCHS * median(epochs[kind])
        cold = whole + median(before[kind])
        print(
            f"{kind}, {EPOCHS} epochs: {whole:.0f} CPU seconds ({whole / three:.3f} of the three), "
            f"{cold:.0f} with the seeker states computed anew ({cold / three:.3f})"
        )


if __name__ == "__main__":
    main()
