"""What a model wrote -> a dialogue, levels, strategies, quotes. Tolerant of form, strict in content.

Read are JSON (within prose or code fences, with trailing commas, comments, raw line breaks or single quotes) and, for
dialogues, transcripts (`Person 1: ...`). What is cut off, has an empty turn, an unknown speaker or strategy, or is a
refusal is an `ParseError`, never half a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datamodules.records import LEVEL_NAMES, LEVELS, MECHANISMS, Span
from synthesis.loose_json import FENCE, json_values

__all__ = [
    "ParseError",
    "Turn",
    "merge_turns",
    "parse_dialogue",
    "parse_labels",
    "parse_levels",
    "parse_quotes",
    "parse_strategies",
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

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
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
    body = _THOUGHTS.sub("", text).strip()
    if not body:
        raise ParseError("the answer is empty")
    found = next((turns for turns in map(_turns_of, json_values(body)) if _both_speak(turns)), [])
    if not found and not cut:
        found = _transcript(body)
    if not found:
        raise _no("the answer was cut off" if cut else "no dialogue in the answer", body)
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
        turn.strategy = _strategy(turn.strategy, strategies)


def _strategy(given: Any, strategies: Sequence[str]) -> str:
    """The name as the list has it, whatever its case and punctuation."""

    def fold(name: str) -> str:
        return " ".join(re.findall(r"[a-z]+", name.lower()))

    names = {fold(name): name for name in strategies}
    if not isinstance(given, str) or fold(given) not in names:
        raise ParseError(f"strategy {given!r:.40} is none of {', '.join(strategies)}")
    return names[fold(given)]


def _no(message: str, text: str) -> ParseError:
    refused = _REFUSAL.search(text) is not None
    return ParseError("the model declined" if refused else message, refused=refused)


# ---- dialogues ----


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


# ---- judgements ----


def parse_levels(text: str, responses: int) -> tuple[list[int], str]:
    """Reads an evaluator's answer.

    Args:
        text: `{"levels": [2], "reason": "..."}`; for one response also `{"level": "strong"}` or `Level: 2`.
        responses: How many responses were judged.

    Returns:
        A level a response, and the reason given.

    Raises:
        ParseError: There is no level for every response.
    """
    body = _THOUGHTS.sub("", text).strip()
    for value in json_values(body):
        if isinstance(value, Mapping) and (given := value.get("levels", value.get("level"))) is not None:
            reason = value.get("reason", value.get("explanation", ""))
            return _level_list(given, responses), reason if isinstance(reason, str) else ""
    said = {
        match[1].lower()
        for match in re.finditer(r"\blevels?\b\W{0,4}(?:is\W+)?([012]\b|none\b|weak\b|strong\b)", body, re.I)
    }
    if responses == 1 and len(levels := {_level(word) for word in said}) == 1:
        return list(levels), body
    raise _no("no level in the answer", body)


def parse_labels(text: str, responses: int) -> list[dict[str, int]]:
    """Reads the levels of all mechanisms.

    Args:
        text: `{"emotional_reactions": [0], "interpretations": [2], "explorations": [1]}`.
        responses: How many responses were judged.

    Returns:
        Mechanism -> level, a mapping a response.

    Raises:
        ParseError: A mechanism or a response is missing.
    """
    value = _mapping_with(text, MECHANISMS)
    columns = {mechanism: _level_list(value[mechanism], responses) for mechanism in MECHANISMS}
    return [{mechanism: columns[mechanism][place] for mechanism in MECHANISMS} for place in range(responses)]


def parse_strategies(text: str, responses: int, strategies: Sequence[str]) -> tuple[list[str], str]:
    """Reads the strategies that an evaluator sees in the supporter's turns.

    Args:
        text: `{"strategies": ["Question", ...], "reason": "..."}`.
        responses: How many turns were judged.
        strategies: The known names.

    Returns:
        A strategy a turn, and the reason given.

    Raises:
        ParseError: There is none for every turn, or an unknown one.
    """
    value = _mapping_with(text, ["strategies"])
    given = value["strategies"] if isinstance(value["strategies"], list) else [value["strategies"]]
    if len(given) != responses:
        raise ParseError(f"{len(given)} strategies for {responses} turns")
    reason = value.get("reason", "")
    return [_strategy(name, strategies) for name in given], reason if isinstance(reason, str) else ""


def parse_quotes(text: str, responses: Sequence[str]) -> tuple[list[dict[str, list[Span]]], int]:
    """Reads rationales: quotes of the responses.

    Args:
        text: `{"explorations": [["how long ..."]], ...}`: mechanism -> a list of quotes a response.
        responses: The responses, as they were shown.

    Returns:
        Mechanism -> character spans, a mapping a response, of the quotes that stand in their response to the letter;
        and how many do not.

    Raises:
        ParseError: The answer is no such mapping.
    """
    body = _THOUGHTS.sub("", text)
    value = next((v for v in json_values(body) if isinstance(v, Mapping) and any(m in v for m in MECHANISMS)), None)
    if value is None:
        raise _no("no mechanism in the answer", body)
    spans: list[dict[str, list[Span]]] = [{} for _ in responses]
    foreign = 0
    for mechanism in MECHANISMS:
        given = value.get(mechanism) or []
        columns = given if isinstance(given, list) else [given]
        if len(responses) == 1 and all(isinstance(quote, str) for quote in columns):
            columns = [columns]
        for response, found, quotes in zip(responses, spans, columns, strict=False):
            for quote in quotes if isinstance(quotes, list) else [quotes]:
                start = response.find(quote.strip()) if isinstance(quote, str) and quote.strip() else -1
                if start < 0:
                    foreign += 1
                else:
                    found.setdefault(mechanism, []).append((start, start + len(quote.strip())))
    for found in spans:
        found.update({mechanism: sorted(set(places)) for mechanism, places in found.items()})
    return spans, foreign


def _mapping_with(text: str, keys: Sequence[str]) -> Mapping[str, Any]:
    body = _THOUGHTS.sub("", text)
    for value in json_values(body):
        if isinstance(value, Mapping) and all(key in value for key in keys):
            return value
    raise _no(f"no {' and '.join(keys)} in the answer", body)


def _level_list(given: Any, responses: int) -> list[int]:
    levels = [_level(value) for value in (given if isinstance(given, list) else [given])]
    if len(levels) != responses:
        raise ParseError(f"{len(levels)} levels for {responses} responses")
    return levels


def _level(given: Any) -> int:
    if isinstance(given, str):
        word = given.strip().lower()
        given = LEVEL_NAMES.index(word) if word in LEVEL_NAMES else int(word) if word in ("0", "1", "2") else None
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or given not in LEVELS:
        raise ParseError(f"{given!r:.40} is no level")
    return int(given)
