"""What a model wrote -> a dialogue. Tolerant of form, strict in content; `judgements` reads the other answers.

Read are JSON (within prose or code fences, with trailing commas, comments, raw line breaks or single quotes) and
transcripts (`Person 1: ...`). What is cut off, has an empty turn, an unknown speaker or strategy, or is a refusal is a
`ParseError`, never half a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthesis.loose_json import FENCE, json_values

__all__ = [
    "ParseError",
    "Turn",
    "known_strategy",
    "merge_turns",
    "parse_dialogue",
    "unusable",
    "without_thoughts",
]

Speaker = Literal["seeker", "supporter"]


class ParseError(ValueError):
    """An answer that can't be used.

    Args:
        message: What is wrong with it.
        refused: Whether the model declined.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass
class Turn:
    """One turn of a dialogue.

    Args:
        speaker: `seeker` or `supporter`.
        text: What was said.
        strategy: The supporter's strategy, where one is asked for.
    """

    speaker: Speaker
    text: str
    strategy: str = ""


_SPEAKERS: Mapping[str, Speaker] = {
    **dict.fromkeys(
        ("seeker", "help seeker", "support seeker", "person 1", "person a", "speaker 1", "speaker a", "user", "client",
         "patient", "poster", "post", "a", "1", "seeker post", "help-seeker", "person one"),
        "seeker",
    ),
    **dict.fromkeys(
        ("supporter", "responder", "response", "person 2", "person b", "speaker 2", "speaker b", "assistant", "helper",
         "counselor", "counsellor", "therapist", "listener", "b", "2", "response post", "peer supporter", "person two"),
        "supporter",
    ),
}  # fmt: skip

_LISTS = ("turns", "dialogue", "dialogues", "conversation", "messages", "exchanges")
_SPEAKER_KEYS = ("speaker", "role", "from", "name")
_TEXT_KEYS = ("text", "content", "utterance", "value", "message")

_THINK = "think(?:ing)?>"
_THOUGHTS = re.compile(rf"(?:<{_THINK}.*?|\A(?:(?!<{_THINK}).)*?)</{_THINK}", re.DOTALL | re.IGNORECASE)
"""Where the chat template has opened the tag, the answer holds its end alone."""
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|\bI(?:'|’)?m an? (?:ai|language model)\b"
    r"|^\W*(?:(?:I(?:'|’)?m|I am) (?:very |really |so )?sorry,? (?:but )?|sorry,? (?:but )?|unfortunately,? )?"
    r"I (?:can(?:no|'|’)t|can not|won(?:'|’)t|will not|must decline|am unable to|(?:'|’)m unable to|am not able to)"
    r" (?:help|assist|fulfil|fulfill|comply|create|generate|write|provide|produce|continue)\b",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"^[\s>*_#-]*(?:\d+[.)]\s*)?[*_\[(]*(?P<speaker>[A-Za-z][A-Za-z -]{0,20}?(?:\s?\d)?|\d)[*_\])]*\s*"
    r"(?:[(\[](?P<strategy>[^)\]\n]{2,40})[)\]])?[*_]*\s*:[*_]*\s*(?P<text>.*)$"
)
_TAG = re.compile(r"^[(\[]([^)\]\n]{2,40})[)\]]\s*")
_ASIDE = re.compile(r"^\s*(?:-{3,}|\*{3,}|={3,}|\(?\[?\*{0,2}(?:note|explanation|rationale|analysis)\b)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]")
_PLACEHOLDER = re.compile(r"^\W*(?:(?:seeker|response|supporter)[ _]?(?:post|text)?|text|string)?\W*$", re.IGNORECASE)


def parse_dialogue(
    text: str, exchanges: int, strategies: Sequence[str] = (), *, cut: bool = False
) -> tuple[list[Turn], int]:
    """Reads a dialogue.

    Args:
        text: The model's answer.
        exchanges: How many exchanges it should have. Further turns are left off.
        strategies: Names that every supporter turn must have one of; none: strategies are not asked for.
        cut: Whether the answer ended at its token limit; then a transcript, whose end nothing marks, is not taken.

    Returns:
        Turns, the seeker's and the supporter's in turn, the seeker first (consecutive turns of one speaker are joined),
        and how many further turns were left off.

    Raises:
        ParseError: There is no such dialogue in the answer.
    """
    body = without_thoughts(text)
    if not body:
        raise ParseError("the answer is empty")
    found = next((turns for turns in map(_turns_of, json_values(body)) if _both_speak(turns)), [])
    if not found and not cut:
        found = _transcript(body)
    if not found:
        raise unusable("the answer was cut off" if cut else "no dialogue in the answer", body)
    turns = merge_turns(found)
    if turns[0].speaker != "seeker":
        raise ParseError("the dialogue begins with the supporter")
    kept = turns[: 2 * exchanges]
    if len(kept) < 2 * exchanges:
        raise ParseError(f"{len(kept)} turns where {2 * exchanges} were asked for")
    for turn in kept:
        _check_turn(turn, strategies)
    return kept, len(turns) - len(kept)


def merge_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Joins consecutive turns of one speaker by a line break; the last strategy given is the turn's."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].speaker == turn.speaker:
            last = merged[-1]
            merged[-1] = Turn(last.speaker, f"{last.text}\n{turn.text}", turn.strategy or last.strategy)
        else:
            merged.append(turn)
    return merged


def _check_turn(turn: Turn, strategies: Sequence[str]) -> None:
    if not _WORD.search(turn.text) or _PLACEHOLDER.match(turn.text):
        raise ParseError(f"a turn of the {turn.speaker} has no words")
    if "\0" in turn.text or "\ufffd" in turn.text:
        raise ParseError("a turn has bytes that are no text")
    if turn.speaker == "supporter" and _REFUSAL.search(turn.text):
        raise ParseError("the supporter's turn is a refusal", refused=True)
    if turn.speaker == "supporter" and strategies:
        if not turn.strategy and (tag := _TAG.match(turn.text)):
            turn.strategy, turn.text = tag[1], turn.text[tag.end() :]
        turn.strategy = known_strategy(turn.strategy, strategies)


def known_strategy(given: Any, strategies: Sequence[str]) -> str:
    """A strategy's name as the list has it, whatever the case and punctuation it was given in.

    Raises:
        ParseError: The list has no such strategy.
    """

    def fold(name: str) -> str:
        return " ".join(re.findall(r"[a-z]+", name.lower()))

    names = {fold(name): name for name in strategies}
    if not isinstance(given, str) or fold(given) not in names:
        raise ParseError(f"strategy {given!r:.40} is none of {', '.join(strategies)}")
    return names[fold(given)]


def without_thoughts(text: str) -> str:
    """An answer without what a reasoning model thought before it."""
    return _THOUGHTS.sub("", text).strip()


def unusable(message: str, text: str) -> ParseError:
    """What is wrong with an answer, unless it is a refusal: then that."""
    refused = _REFUSAL.search(text) is not None
    return ParseError("the model declined" if refused else message, refused=refused)


def _turns_of(value: Any) -> list[Turn]:
    """A JSON value as turns; none where it is something else."""
    if isinstance(value, str):
        return _transcript(value)
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return _transcript("\n".join(value))
        parts = [_turns_of(item) for item in value]
        return [turn for part in parts for turn in part] if all(parts) else []
    if not isinstance(value, Mapping):
        return []
    fields = {str(key).strip().lower().replace("_", " "): inner for key, inner in value.items()}
    for key in _LISTS:
        if fields.get(key):
            return _turns_of(fields[key])
    given = fields.get("strategy")
    strategy = given if isinstance(given, str) else ""
    speaker = next((str(fields[key]).strip().lower() for key in _SPEAKER_KEYS if key in fields), "")
    text = next((fields[key] for key in _TEXT_KEYS if key in fields), None)
    if speaker in _SPEAKERS and isinstance(text, str):
        return [Turn(_SPEAKERS[speaker], text.strip(), strategy if _SPEAKERS[speaker] == "supporter" else "")]
    return [
        Turn(_SPEAKERS[key], inner.strip(), strategy if _SPEAKERS[key] == "supporter" else "")
        for key, inner in fields.items()
        if key in _SPEAKERS and isinstance(inner, str)
    ]


def _transcript(text: str) -> list[Turn]:
    """Lines such as `Person 1: ...`; lines before the first are left out, lines after one go on with it."""
    turns: list[Turn] = []
    inner = FENCE.search(text)
    for line in (inner[1] if inner else text).splitlines():
        match = _LINE.match(line)
        speaker = _SPEAKERS.get(" ".join(match["speaker"].lower().split())) if match else None
        if match and speaker:
            turns.append(Turn(speaker, _unquote(match["text"]), (match["strategy"] or "").strip()))
        elif turns and _ASIDE.match(line):
            break
        elif turns:
            turns[-1].text = f"{turns[-1].text}\n{line.strip()}".strip()
    return turns if _both_speak(turns) else []


def _both_speak(turns: Sequence[Turn]) -> bool:
    return len({turn.speaker for turn in turns}) == 2


def _unquote(text: str) -> str:
    text = text.strip().removesuffix("**").strip()
    return text[1:-1].strip() if len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("“", "”")) else text
