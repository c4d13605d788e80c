"""Tiny models and corpora, built on the spot."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedTokenizerFast, RobertaConfig

from datamodules.records import MECHANISMS, Pair

SENTENCES = (
    "I feel so alone since my sister moved away.",
    "Work has been crushing me for weeks.",
    "My exam is tomorrow and I can't sleep.",
    "Nobody calls any more.",
    "I lost my dog in spring.",
    "The doctors don't know what it is.",
)
REPLIES = (
    ("I am so sorry you carry this.", "emotional_reactions"),
    ("That must feel like the floor is gone.", "interpretations"),
    ("Are the nights the hardest part?", "explorations"),
    ("Try a glass of water.", ""),
    ("Things will get better.", "emotional_reactions"),
    ("What happened then?", "explorations"),
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like RoBERTa's, trained on the sentences above."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*SENTENCES, *(text for text, _ in REPLIES)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>", model_max_length=128,
    )  # fmt: skip


def save_tiny_encoder(folder: Path, seed: int = 0, dropout: float = 0.1) -> Path:
    """Saves a RoBERTa of one layer, 16 wide, with its tokenizer."""
    tokenizer = tiny_tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=130, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_pairs(count: int, source: str = "reddit", seed: int = 0, **fields: str) -> list[Pair]:
    """Pairs with levels and rationales for all mechanisms; seeker posts differ, a few have two responses."""
    chooser = random.Random(f"{source}{seed}")
    pairs = []
    for number in range(count):
        day = number // 2 * 7 + seed
        seeker = f"{chooser.choice(SENTENCES)} {chooser.choice(SENTENCES)} This is day {day} of it, {source}."
        chosen = chooser.sample(REPLIES, k=chooser.randint(1, 3))
        response, levels, rationales = "", dict.fromkeys(MECHANISMS, 0), {}
        for text, mechanism in chosen:
            start = len(response) + bool(response)
            response = f"{response} {text}".strip()
            if mechanism:
                levels[mechanism] = max(levels[mechanism], 1 + len(text) % 2)
                rationales.setdefault(mechanism, []).append((start, start + len(text)))
        pairs.append(
            Pair(
                id=f"{number:04d}",
                source=source,
                seeker_post=seeker,
                response_post=f"{response} ({number})",
                levels=levels,
                rationales=rationales,
                **fields,
            )
        )
    return pairs


def write_jsonl(path: Path, pairs: list[Pair]) -> Path:
    """Writes pairs in the row format."""
    path.write_text("".join(pair.to_json() + "\n" for pair in pairs), encoding="utf-8")
    return path


def write_epitome(folder: Path, pairs: list[Pair]) -> Path:
    """Writes pairs as the three published files."""
    folder.mkdir(parents=True, exist_ok=True)
    for mechanism in MECHANISMS:
        name = mechanism.replace("_", "-")
        with (folder / f"{name}-reddit.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sp_id", "rp_id", "seeker_post", "response_post", "level", "rationales"])
            for pair in pairs:
                spans = pair.rationales.get(mechanism, [])
                quoted = "|".join(pair.response_post[start:end] for start, end in spans)
                writer.writerow(
                    [f"s{pair.id}", f"r{pair.id}", pair.seeker_post, pair.response_post, pair.levels[mechanism], quoted]
                )
    return folder
