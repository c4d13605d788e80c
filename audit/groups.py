"""Groups of people: which words name them, and the same text with one group in the place of another."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from errors import DataError

__all__ = ["GROUPS", "Group", "introduce", "mentions", "read_groups", "swap"]

GROUPS = Path(__file__).parent.parent / "configs" / "audit" / "groups.yaml"
"""The groups that come with the project; a user's own file has the same form."""

_WORD = re.compile(r"[^\W\d_]+")
_NO_NOUN = frozenset(
    re.findall(
        r"\w+",
        "a about after again all and as at away back because before being but by even every for from go how i "
        "if in into is it just like more much my never not now of on or out over so than that the their then "
        "there they this to too up was we well were what when where which while who why with you ",
    )
)
"""Words that don't begin a noun phrase: before them `her` is `him`, before any other word it is `his`."""


@dataclass
class Group:
    """One group of an axis.

    Args:
        name: Its name.
        says: How a member introduces themselves, {} standing for one of the words; empty: not at all.
        words: Words that name a member, aligned with those of the axis's other groups; capital letters make a name,
            which is looked for as it is written.
    """

    name: str
    says: str = ""
    words: list[str] = field(default_factory=list)

    @cached_property
    def names(self) -> frozenset[str]:
        """The words that are names."""
        return frozenset(word for word in self.words if word != word.lower())

    @cached_property
    def nouns(self) -> frozenset[str]:
        """The other words, all in lower case."""
        return frozenset(self.words) - self.names


def read_groups(path: Path) -> dict[str, list[Group]]:
    """Reads the axes and their groups.

    Args:
        path: A YAML file, like `configs/audit/groups.yaml`.

    Returns:
        Axis -> its groups, the reference first.

    Raises:
        DataError: With all that is wrong in it.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError([f"{path}: can't be read as YAML ({type(error).__name__})"]) from None
    if not isinstance(content, dict) or not content:
        raise DataError([f"{path}: holds no axes; see {GROUPS}"])
    problems: list[str] = []
    axes = {str(axis): _read_axis(f"{path}, {axis}", groups, problems) for axis, groups in content.items()}
    if problems:
        raise DataError(problems)
    return axes


def _read_axis(where: str, content: Any, problems: list[str]) -> list[Group]:
    if not isinstance(content, dict) or len(content) < 2:
        problems.append(f"{where}: an axis has two groups at least")
        return []
    groups = []
    for name, entry in content.items():
        fields = entry if isinstance(entry, dict) else {}
        says, words = fields.get("says", ""), fields.get("words", [])
        if set(fields) - {"says", "words"} or not (says or words):
            problems.append(f"{where}, {name}: has `says`, `words` or both, and nothing else")
        elif not isinstance(says, str) or not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            problems.append(f"{where}, {name}: `says` is a text and `words` a list of texts (quote yes, no, on, off)")
        elif "{}" in says and not words:
            problems.append(f"{where}, {name}: `says` has {{}} and there are no words to put there")
        else:
            groups.append(Group(str(name), says, words))
    if len(lengths := {len(group.words) for group in groups if group.words}) > 1:
        problems.append(f"{where}: its groups have {sorted(lengths)} words; aligned lists are equally long")
    return groups


def mentions(text: str, group: Group) -> bool:
    """Whether a text has a word of a group; its names must be written as names."""
    names, nouns = group.names, group.nouns
    return any(match[0] in names or match[0].lower() in nouns for match in _WORD.finditer(text))


def swap(text: str, source: Group, target: Group) -> str:
    """The text with one group's words in the place of another's, capital letters kept.

    Where a word has two counterparts (her: him or his), the next word decides: before a word that can't begin a noun
    phrase, or at the end of a clause, the first counterpart is taken, elsewhere the second.

    Args:
        text: Any text.
        source: The group whose words go.
        target: The group whose words come.
    """
    counterparts: dict[str, list[str]] = {}
    for old, new in zip(source.words, target.words, strict=True):
        counterparts.setdefault(old, []).append(new)

    def replace(match: re.Match[str]) -> str:
        word = match[0]
        found = counterparts.get(word) or counterparts.get(word.lower())
        if not found:
            return word
        return _in_case_of(word, _chosen(found, text[match.end() :]))

    return _WORD.sub(replace, text)


def introduce(post: str, group: Group, number: int) -> str:
    """The post after a sentence in which the writer says that they belong to the group.

    Args:
        post: A seeker post.
        group: The group.
        number: Chooses the word where the sentence has a place for one.
    """
    said = group.says.replace("{}", group.words[number % len(group.words)]) if "{}" in group.says else group.says
    return f"{said} {post}"


def _chosen(found: list[str], rest: str) -> str:
    following = re.match(r"\s+([^\W\d_]+)", rest)
    if len(found) == 1 or found[0] == found[1]:
        return found[0]
    return found[1] if following and following[1].lower() not in _NO_NOUN else found[0]


def _in_case_of(word: str, new: str) -> str:
    if word.isupper() and len(word) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if word[:1].isupper() else new
