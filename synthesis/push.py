"""Rows and card to the Hugging Face hub, only when asked for."""

from __future__ import annotations

import json
from pathlib import Path

from datamodules.sources.report import sha256_of
from errors import UserError
from synthesis.store import ATTEMPTS, CARD, HELD, ROWS, read_log

__all__ = ["check_shareable", "push"]


def check_shareable(folder: Path) -> None:
    """Refuses rows from prompts that held clinical text, unless the audit's gate let exactly these go.

    The gate's `--export FOLDER/rows.jsonl` copies the held rows and leaves beside them the release that this reads.

    Raises:
        UserError: There are such rows, and no release of them.
    """
    clinical = any(
        "clinical" in row.get("prompt_sources", [])
        for record in read_log(folder / ATTEMPTS)
        for row in record.get("rows", [])
    )
    if not clinical:
        return
    try:
        released = json.loads((folder / f"{ROWS}.release.json").read_text(encoding="utf-8"))["sha256"]
        same = {released} == {sha256_of(folder / name) for name in (ROWS, HELD)}
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise UserError(
            f"{folder}: rows were made from prompts with clinical text and are not pushed; nothing was sent. The "
            f"audit's gate releases them: python cli.py audit {folder / HELD} --real CLINICAL --test UNSEEN "
            f"--export {folder / ROWS}"
        )


def push(folder: Path, repository: str, *, public: bool) -> str:
    """Uploads `rows.jsonl` and the card (as README.md); the log stays here.

    Args:
        folder: The output folder.
        repository: `owner/name` of a data set on the hub; made if it isn't there.
        public: Whether everybody may read it.

    Returns:
        Its address.

    Raises:
        UserError: The rows may not be shared, or the hub refuses.
    """
    from huggingface_hub import HfApi

    check_shareable(folder)
    hub = HfApi()
    try:
        address = hub.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        for file, name in ((ROWS, ROWS), (CARD, "README.md")):
            hub.upload_file(path_or_fileobj=folder / file, path_in_repo=name, repo_id=repository, repo_type="dataset")
    except Exception as error:  # the hub's client lets several HTTP libraries' errors through
        first_line = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"push to {repository}: {first_line}. Nothing is lost, the rows are in {folder}; log in "
            "with 'hf auth login'"
        ) from None
    return str(address)
