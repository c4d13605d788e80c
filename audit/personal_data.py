"""Personal data in synthetic rows: built-in patterns, and Presidio's where it is installed (extra `privacy`)."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from errors import UserError

__all__ = ["IDENTIFYING", "Finder", "Findings", "built_in_finder", "find_personal_data", "presidio_finder"]

Finder = Callable[[str], Iterable[tuple[str, str]]]
"""Text -> (kind, what was found)."""

IDENTIFYING = (
    "email", "phone", "url", "handle", "ip address", "card number", "bank account", "national id", "health id",
    "crypto wallet", "mac address", "street address", "postcode", "date of birth", "full date",
)  # fmt: skip
"""Kinds that point to one person; the gate wants none of them. Names and places are reported, not gated: invented
people have names too. Nor are numbers that cost nothing to call: those are helplines."""

_FREE_NUMBER = re.compile(r"1?8(?:00|33|44|55|66|77|88)\d{7}|(?:44|0)80[08]\d{6,7}|116\d{3}")


@dataclass
class Findings:
    """What was found, without its text.

    Args:
        rows: Kind -> numbers of the rows that hold such a thing, ascending.
        also_real: Kind -> how many of these rows hold one that a real row holds too.
    """

    rows: dict[str, list[int]] = field(default_factory=dict)
    also_real: dict[str, int] = field(default_factory=dict)

    @property
    def identifying_rows(self) -> list[int]:
        """Rows with something that points to one person."""
        return sorted({row for kind, rows in self.rows.items() if kind in IDENTIFYING for row in rows})


def find_personal_data(texts: Sequence[Sequence[str]], real: Iterable[str], finders: Sequence[Finder]) -> Findings:
    """Searches rows.

    Args:
        texts: The texts of each synthetic row.
        real: All texts of the real rows.
        finders: What searches.

    Returns:
        The rows found, by kind.
    """
    found = [{hit for text in row for finder in finders for hit in _plain(finder(text))} for row in texts]
    wanted = set().union(*found)
    known = {hit for text in real for finder in finders for hit in _plain(finder(text))} & wanted if wanted else set()
    findings = Findings()
    for number, hits in enumerate(found):
        for kind in sorted({kind for kind, _ in hits}):
            findings.rows.setdefault(kind, []).append(number)
            shared = any(hit in known for hit in hits if hit[0] == kind)
            findings.also_real[kind] = findings.also_real.get(kind, 0) + shared
    return findings


def _plain(hits: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for kind, text in hits:
        plain = re.sub(r"[\W_]+", "", text).casefold()
        yield ("free number" if kind == "phone" and _FREE_NUMBER.fullmatch(plain) else kind), plain


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_STREET = r"(?:street|road|avenue|lane|drive|boulevard|close|crescent|terrace|square|court|way|st|rd|ave|blvd)"
_PATTERNS = {
    "email": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b",
    "url": r"(?:https?://|\bwww\.)\S+",
    "handle": r"(?<![\w/])(?:/?u/[A-Za-z0-9_-]{3,20}|@[A-Za-z]\w{2,})\b",
    "ip address": r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])",
    "card number": r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)",
    "bank account": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "national id": r"\b(?:\d{3}-\d{2}-\d{4}|[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b",
    "street address": rf"\b\d{{1,5}} (?:[A-Z][a-z]+ ){{1,3}}(?i:{_STREET})\b",
    "postcode": r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b",
    "full date": (
        rf"(?i)\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH},? (?:19|20)\d\d"
        rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d\d"
        r"|\d{1,2}[/.-]\d{1,2}[/.-](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d)\b"
    ),
    "phone": r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,5}\)[ .-]?)?\d{2,5}(?:[ .-]?\d{2,4}){2,4}(?![\w.])",
    "name": r"\b(?i:my name is|my name's|i am called|call me|signed,?) ((?!(?i:a|an|the|if|when|in|on)\b)[A-Z][a-z]+)",
}
_YEAR = re.compile(r"(?:19|20)\d\d")
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def built_in_finder(text: str) -> Iterable[tuple[str, str]]:
    """Personal data by patterns, with check digits where the kind has them.

    Args:
        text: Any text.

    Returns:
        (kind, what was found), in order of kind; of two that overlap the first kind.
    """
    taken: list[tuple[int, int]] = []
    for kind, pattern in _COMPILED.items():
        for match in pattern.finditer(text):
            hit = match[match.lastindex or 0]
            free = all(match.end() <= start or end <= match.start() for start, end in taken)
            if free and (kind not in _CHECKS or _CHECKS[kind](hit)):
                taken.append(match.span())
                yield kind, hit


def _is_phone(text: str) -> bool:
    """9 to 15 digits, or 7 and more where they are written like a number to dial; no date, decimal or row of years."""
    digits = re.sub(r"\D", "", text)
    if _COMPILED["full date"].fullmatch(text) or re.fullmatch(r"\d+\.\d+", text):
        return False
    if all(map(_YEAR.fullmatch, re.findall(r"\d+", text))):
        return False
    return 9 <= len(digits) <= 15 or (len(digits) >= 7 and bool(re.search(r"[-.()+]", text)))


def _luhn(text: str) -> bool:
    digits = [int(char) for char in text if char.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _iban(text: str) -> bool:
    compact = text.replace(" ", "")
    turned = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


_CHECKS: dict[str, Callable[[str], bool]] = {"phone": _is_phone, "card number": _luhn, "bank account": _iban}

_PRESIDIO = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card number",
    "IBAN_CODE": "bank account",
    "IP_ADDRESS": "ip address",
    "MAC_ADDRESS": "mac address",
    "CRYPTO": "crypto wallet",
    "UK_NHS": "health id",
    "MEDICAL_LICENSE": "health id",
    "US_SSN": "national id",
    "US_ITIN": "national id",
    "PERSON": "name",
    "LOCATION": "place",
}
"""Presidio's entities that are asked for. Its URL recogniser takes "went.so" for an address and its dates any "today";
the built-in patterns are stricter."""


_MAY_HOLD = re.compile(r"[\d@]")  # what every entity by pattern holds, and most texts don't


def presidio_finder(model: str | None = None, threshold: float = 0.4) -> Finder | None:
    """Presidio's recognisers; without a spaCy model those that work by pattern and check digit, and nothing is fetched.

    Args:
        model: A spaCy model's folder or installed package, for names and places as well.
        threshold: Lowest score that counts.

    Returns:
        A finder, or None where Presidio isn't installed and no model was asked for.

    Raises:
        UserError: A model is asked for and can't be used.
    """
    if importlib.util.find_spec("presidio_analyzer") is None:
        if model:
            raise UserError(f"--names {model} needs Presidio: pip install 'attune[privacy]'")
        return None
    analyzers = [_analyzer(model)] if model else []

    def find(text: str) -> list[tuple[str, str]]:
        """The kinds and texts of what Presidio finds."""
        if not model and not _MAY_HOLD.search(text):
            return []
        if not analyzers:
            analyzers.append(_analyzer(None))  # only now: its import takes seconds
        entities = sorted(set(analyzers[0].get_supported_entities("en")) & set(_PRESIDIO))
        hits = analyzers[0].analyze(text, "en", entities=entities, score_threshold=threshold)
        return [(_PRESIDIO[hit.entity_type], text[hit.start : hit.end]) for hit in hits]

    return find


def _analyzer(model: str | None) -> Any:
    # its e-mail recogniser would fetch a list of domain endings; empty, it takes the one that is installed
    os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns of every language that isn't asked for
    import presidio_analyzer
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    engine: Any = _spacy_engine(model) if model else NoOpNlpEngine(models=[{"lang_code": "en", "model_name": ""}])
    registry = presidio_analyzer.RecognizerRegistry(supported_languages=["en"])
    return presidio_analyzer.AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def _spacy_engine(model: str) -> Any:
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Loaded(SpacyNlpEngine):
        """Uses the pipeline at hand; the class it extends would download what it doesn't find."""

        def __init__(self, pipeline: Any) -> None:
            super().__init__(models=[{"lang_code": "en", "model_name": model}])
            self.nlp: Any = {"en": pipeline}

    try:
        return Loaded(spacy.load(model))
    except OSError:
        raise UserError(
            f"--names {model}: no such spaCy model here; give the folder of one, or install one (nothing is downloaded)"
        ) from None
