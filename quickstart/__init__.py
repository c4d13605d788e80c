"""The bundled corpus: pairs written for this project, with levels and rationales, in the public domain (CC0).

`DATASHEET.md` beside the file says how they were made, what they hold and what they are not good for.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PAIRS"]

PAIRS = Path(__file__).with_name("pairs.jsonl")
"""The rows as JSON Lines, in the format of `datamodules.records.Pair`; source `synthetic`."""
