"""Files as options name them, and files that are whole or not there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["as_list", "replacing", "replacing_path", "write_json"]


def as_list(value: str | Sequence[str] | None) -> list[str]:
    """The values of an option that takes none, one or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Makes an empty temporary file beside `path` and gives it that name when the block has ended well.

    Args:
        path: The final name; what stands there stays until then. Its folder is made where it is missing.

    Yields:
        The temporary file's path.

    Raises:
        OSError: No room or no right to write; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """`replacing_path`, opened as UTF-8 text."""
    with replacing_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


def _plain(value: Any) -> Any:
    """NaN has no place in JSON; it becomes null."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON, whole or not at all."""
    with replacing(path) as file:
        json.dump(_plain(content), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
