"""Words that say who helps and who seeks help."""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["Role", "role_of_word"]

Role = Literal["seeker", "supporter", "other"]

_SUPPORTER = re.compile(
    r"""t | th | (?:psycho)?th[eé]rap(?:eut|ist)\w* | coun[sc]ell?or\w* | conseill[eè]re?s? | \w*berater(?:in)?
    | psycholog(?:e|in|ist\w*|ue) | psychiat(?:er|erin|re|rist\w*) | clinician\w*
    | dr | do[ck]tor(?:in)? | docteure? | médecin | \w*arzt | \w*ärztin | nurse | infirmi(?:er|ère)
    | advis[eo]r | coach | helper | interviewer(?:in)? | intervieweuse | listener | écoutante? | provider
    | supporter(?:in)? | volunteer""",
    re.VERBOSE,
)
_SEEKER = re.compile(
    r"""c | cl | [ck]lient(?:e|in)? | p | pt | patient(?:e|in)? | caller | anrufer(?:in)? | appelante? | member
    | participant(?:e|in)? | (?:help)?seeker | (?:rat|hilfe)suchende[nr]? | user | usag(?:er|ère)
    | visitor""",
    re.VERBOSE,
)
"""Words that people who help, and who seek help, are called, in English, German and French. Words for what they do,
such as "therapy", stand before colons without naming anybody."""


def role_of_word(word: str) -> Role | None:
    """The role of whom a folded word such as "therapist" or "patientin" names; None for other words."""
    if _SUPPORTER.fullmatch(word):
        return "supporter"
    return "seeker" if _SEEKER.fullmatch(word) else None
