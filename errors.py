"""Errors that are meant for the person at the keyboard: printed as they are, without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterable

__all__ = ["STORAGE", "DataError", "UserError"]

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of `OSError` that a person has to mend: no space, no quota, no permission."""


class UserError(ValueError):
    """Something the user asked for can't be done. The message says what, where and the way out."""


class DataError(UserError):
    """Input that can't be used. Holds every problem found, not only the first.

    Args:
        problems: One sentence a problem, each naming file, row and column where it has them.
        shown: How many problems the message spells out; the rest are counted.
    """

    def __init__(self, problems: Iterable[str], shown: int = 10) -> None:
        self.problems = list(problems)
        lines = self.problems[:shown]
        if len(self.problems) > shown:
            lines.append(f"... and {len(self.problems) - shown} more problems of this kind")
        super().__init__("\n".join(lines))
