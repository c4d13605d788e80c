"""The examples of the documentation's pages."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The commands of the bash blocks, continued lines joined, comments cut."""
    joined = [block.replace("\\\n", " ") for block in blocks(page, "bash")]
    lines = [re.sub(r"(^|\s+)# .*", "", line).strip() for block in joined for line in block.splitlines()]
    return [line for line in lines if line]
