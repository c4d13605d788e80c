"""Tiny dialogues, written for the tests."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml
from running import succeed

SEEKER = (
    "I feel so alone since my sister moved away.",
    "Work has been crushing me for weeks.",
    "I can't sleep before my exam.",
    "Nobody calls any more.",
    "Yes, since spring.",
    "Thank you, that helps.",
)
SUPPORTER = {
    "Question": ("Since when has it been so?", "What happened then?"),
    "Restatement or Paraphrasing": ("So the work never ends.", "So you wait for a call."),
    "Reflection of feelings": ("That sounds lonely.", "You sound worn out."),
    "Self-disclosure": ("I moved once too.", "I failed an exam myself."),
    "Affirmation and Reassurance": ("You are doing well.", "It will pass, you are strong."),
    "Providing Suggestions": ("Maybe write her a letter.", "You could take a walk."),
    "Information": ("Sleep comes in cycles.", "Most people need a month."),
    "Others": ("Hello.", "Good bye, take care."),
}


def esconv_items(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Dialogues in the published JSON's shape; every second one begins with the supporter."""
    chooser = random.Random(seed)
    items = []
    for number in range(count):
        dialog = []
        speaker = ("seeker", "supporter")[number % 2]
        for turn in range(chooser.randint(4, 9)):
            if speaker == "seeker":
                text = f"{chooser.choice(SEEKER)} Day {number} and {turn}."
                dialog.append({"speaker": "seeker", "annotation": {}, "content": text})
            else:
                strategy = chooser.choice(list(SUPPORTER))
                text = chooser.choice(SUPPORTER[strategy])
                dialog.append({"speaker": "supporter", "annotation": {"strategy": strategy}, "content": text})
            if chooser.random() < 0.8:
                speaker = "supporter" if speaker == "seeker" else "seeker"
        dialog.append({"speaker": "supporter", "annotation": {"strategy": "Others"}, "content": f"Bye, day {number}."})
        items.append({"dialog": dialog})
    return items


def write_esconv(path: Path, count: int, seed: int = 0) -> Path:
    """Writes them as a file."""
    path.write_text(json.dumps(esconv_items(count, seed)), encoding="utf-8")
    return path


def strategy_config(file: Path, encoder: str, esconv: Path, *, model: Any = None, data: Any = None, **top: Any) -> Path:
    """A config of the classifier at the size of a test."""
    return _write(
        file,
        "lightning_modules.strategy.StrategyClassifier",
        {"encoder": encoder, "optimisation": {"lr": 1e-3}, **(model or {})},
        {"esconv": str(esconv), "max_tokens": 64, "batch_size": 8, **(data or {})},
        {"monitor": "validation/f1_macro", "monitor_mode": "max", **top},
    )


def responder_config(file: Path, esconv: Path, *, model: Any = None, data: Any = None, **top: Any) -> Path:
    """A config of the small responder at the size of a test."""
    small = {"layers": 1, "width": 16, "heads": 2, "window": 64, "vocabulary": 300}
    return _write(
        file,
        "lightning_modules.responder.StrategyResponder",
        {"small": small, "max_response_tokens": 8, "optimisation": {"lr": 1e-3}, **(model or {})},
        {"esconv": str(esconv), "max_tokens": 64, "batch_size": 8, **(data or {})},
        {"monitor": "validation/loss", "monitor_mode": "min", **top},
    )


def _write(file: Path, module: str, model: dict[str, Any], data: dict[str, Any], top: dict[str, Any]) -> Path:
    content = {
        "model": {"class_path": module, "init_args": model},
        "data": {"class_path": "datamodules.dialogue.DialogueDataModule", "init_args": data},
        "runs": str(file.parent / "runs"),
        **top,
    }
    content["trainer"] = {"accelerator": "cpu", "max_epochs": 2, **top.get("trainer", {})}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def train_talkers(place: Path, encoder: str) -> dict[str, Path]:
    """Runs of a classifier and of responders with tags and without."""
    esconv = write_esconv(place / "ESConv.json", 20)
    none = {"policies": [{"class_path": "inference.policies.NoPolicy"}], "written_rows": 2}
    one = {"max_epochs": 1}
    configs = {
        "classifier": strategy_config(place / "classifier.yaml", encoder, esconv, trainer=one),
        "tagged": responder_config(place / "tagged.yaml", esconv, model=none, trainer=one),
        "plain": responder_config(place / "plain.yaml", esconv, model={**none, "tagged": False}, trainer=one),
    }
    return {name: succeed("fit", "--config", file).folder for name, file in configs.items()}
