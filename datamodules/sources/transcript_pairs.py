"""Turns of a session to pairs of a seeker's turn and the supporter's answer: who is who, and the rule (`RULE`)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from datamodules.records import Pair
from datamodules.sources.transcript_formats import Turn
from datamodules.sources.transcript_labels import folded
from datamodules.sources.transcript_roles import Role, role_of_word

__all__ = ["RULE", "Session", "guess_roles", "make_pairs", "share_of_questions", "split_sessions"]

RULE = """Turns of other speakers are left out. A supporter's turn of fewer than --min_words words is a backchannel
("mm-hm"): it is left out too, so that the seeker goes on. Then what one side says in a row is one turn, and each
supporter turn with the seeker turn right before it is a pair. A supporter who opens the session answers nobody, and a
seeker's last turn has no answer: neither makes a pair. All pairs of a session are one group. What is left out is
counted. Nothing leaves the machine."""


@dataclass(frozen=True)
class Session:
    """One session.

    Args:
        path: The file.
        name: What the group and the ids of its pairs are called.
        turns: What was said, in order.
    """

    path: Path
    name: str
    turns: Sequence[Turn]


def split_sessions(path: Path, turns: Sequence[Turn], *, keep_names: bool) -> list[Session]:
    """The sessions of a file in the order in which they begin.

    Args:
        path: The file.
        turns: Its turns.
        keep_names: Call sessions what the file's session column, or else the file's name without its ending, calls
            them. Otherwise they are called by a hash of what is said in them: names of files often name people.

    Returns:
        The sessions.
    """
    by_session: dict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        by_session[turn.session].append(turn)
    sessions = []
    for given, own in by_session.items():
        said = "\n".join(f"{turn.speaker}\0{turn.text}" for turn in own)
        pseudonym = f"session-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
        sessions.append(Session(path, (given or path.stem) if keep_names else pseudonym, own))
    return sessions


def guess_roles(turns: Sequence[Turn], given: Mapping[str, Role] | None = None) -> dict[str, Role]:
    """Who helps and who seeks help, by what the speakers are called, else by who asks.

    A name with a word such as "therapist" or "client" says it. Where one of two speakers is known, the other has the
    other role. Where neither is, the one with the larger share of turns with a question mark is the supporter.

    Args:
        turns: The turns of one file.
        given: Folded name -> role that is known and no guess.

    Returns:
        Folded name -> role of the speakers, without those for whom there is no guess.
    """
    speakers = list(dict.fromkeys(folded(turn.speaker) for turn in turns))
    roles: dict[str, Role] = {name: role for name, role in (given or {}).items() if name in speakers}
    for name in speakers:
        if name in roles:
            continue
        said = {role for word in re.findall(r"[^\W\d_]+", name) if (role := role_of_word(word))}
        if len(said) == 1:
            (roles[name],) = said
    if len(speakers) != 2 or len(roles) == 2:
        return roles
    if not roles:
        asking = {name: share_of_questions(turns, name) for name in speakers}
        if asking[speakers[0]] == asking[speakers[1]]:
            return roles
        roles[max(speakers, key=asking.__getitem__)] = "supporter"
    (known,) = roles
    (unknown,) = set(speakers) - {known}
    if roles[known] != "other":
        roles[unknown] = "seeker" if roles[known] == "supporter" else "supporter"
    return roles


def share_of_questions(turns: Sequence[Turn], name: str) -> float:
    """The share of a speaker's turns that have a question mark; `name` is folded."""
    own = [turn for turn in turns if folded(turn.speaker) == name]
    return sum("?" in turn.text for turn in own) / len(own)


def make_pairs(session: Session, roles: Mapping[str, Role], *, min_words: int = 1) -> tuple[list[Pair], Counter[str]]:
    """A session's pairs by `RULE`.

    Args:
        session: The session.
        roles: Folded name -> role of every speaker.
        min_words: Words below which a supporter's turn is a backchannel.

    Returns:
        The pairs in order, with ids `<session>-001` and so on, and counts: `turns`, `pairs`, `other_speakers`,
        `backchannels`, `opening` and `unanswered`.
    """
    counts = Counter(turns=len(session.turns), other_speakers=0, backchannels=0)
    kept: list[tuple[Role, str]] = []
    for turn in session.turns:
        role = roles[folded(turn.speaker)]
        if role == "other":
            counts["other_speakers"] += 1
        elif role == "supporter" and len(turn.text.split()) < min_words:
            counts["backchannels"] += 1
        else:
            kept.append((role, turn.text))
    merged = [(role, " ".join(text for _, text in said)) for role, said in groupby(kept, key=lambda turn: turn[0])]
    counts["opening"] = int(bool(merged) and merged[0][0] == "supporter")
    counts["unanswered"] = int(bool(merged) and merged[-1][0] == "seeker")
    sides = [text for _, text in merged[counts["opening"] : len(merged) - counts["unanswered"]]]
    pairs = [
        Pair(f"{session.name}-{number:03d}", "clinical", seeker, response, group=session.name)
        for number, (seeker, response) in enumerate(zip(sides[::2], sides[1::2], strict=True), 1)
    ]
    counts["pairs"] = len(pairs)
    return pairs, counts
