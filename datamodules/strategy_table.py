"""`python cli.py strategies`: our merged corpus beside study B's table, the unreachable part named."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datamodules.dialogues import STRATEGIES, Dialogue
from datamodules.records import MECHANISMS
from datamodules.strategies import Scheme, load_scheme
from errors import UserError

__all__ = ["PUBLISHED", "PUBLISHED_STRATEGIES", "corpus_table", "count_parts", "main"]


PUBLISHED_STRATEGIES = {
    "Question": 3801,
    "Self-disclosure": 1713,
    "Affirmation and Reassurance": 2827,
    "Providing Suggestions": 2954,
    "Reflection of feelings": 1436,
    "Information": 1215,
    "Restatement or Paraphrasing": 1089,
    "Others": 3661,
}
"""The totals on ESConv's page; for Others it prints 3,341 too, which makes the sum 18,376."""

PUBLISHED = {
    "Comforting": (5976, 4453),
    "Exploration": (8039, 2406),
    "Action": (8709, 2965),
    "Others": (3661, 0),
}
"""Study B's count of a category as its parts give it: from ESConv, from EPITOME."""

PUBLISHED_PUBLIC = {"Comforting": 1047, "Exploration": 480, "Action": 1458, "Others": 0}
"""EPITOME rows of level > 0 in the whole published Reddit files; study B has more, which were never released."""


def count_parts(dialogues: Iterable[Dialogue]) -> Counter[str]:
    """How many supporter turns use each strategy, and how many show each mechanism.

    Returns:
        Strategy or mechanism -> turns; `neither` counts turns judged for all mechanisms that show none, `unlabelled`
        those without any annotation.
    """
    counts: Counter[str] = Counter()
    for dialogue in dialogues:
        for turn in dialogue.turns:
            if turn.speaker == "seeker":
                continue
            shown = [mechanism for mechanism, level in turn.levels.items() if level > 0]
            if turn.strategy:
                counts[turn.strategy] += 1
            elif shown:
                counts.update(shown)
            else:
                counts["neither" if all(name in turn.levels for name in MECHANISMS) else "unlabelled"] += 1
    return counts


def corpus_table(esconv: Mapping[str, int], reddit: Mapping[str, int], scheme: Scheme, *, neither: int = 0) -> str:
    """The table as text.

    Args:
        esconv: `count_parts` of the ESConv dialogues.
        reddit: `count_parts` of the EPITOME pairs.
        scheme: The scheme that maps them.
        neither: EPITOME rows without a mechanism, which the scheme's fallback takes and study B's counts don't show.
    """
    ours, theirs = scheme.tally(esconv), scheme.tally(reddit)
    theirs[scheme.fallback] = theirs.get(scheme.fallback, 0) + neither
    ours_header = f"{'category':<16}{'ESConv':>8}{'EPITOME':>9}{'ours':>8}"
    lines = [ours_header + f"   {'B: ESConv':>10}{'EPITOME':>9}{'B':>8}{'not public':>12}"]
    total = Counter[str]()
    for name in scheme.categories:
        row = {"esconv": ours[name], "reddit": theirs[name], "ours": ours[name] + theirs[name]}
        line = f"{name:<16}{row['esconv']:>8,}{row['reddit']:>9,}{row['ours']:>8,}"
        if name in PUBLISHED:
            from_esconv, from_epitome = PUBLISHED[name]
            hidden = from_epitome - PUBLISHED_PUBLIC[name]
            row |= {"b_esconv": from_esconv, "b_reddit": from_epitome, "b": from_esconv + from_epitome, "gap": hidden}
            line += f"   {from_esconv:>10,}{from_epitome:>9,}{from_esconv + from_epitome:>8,}{hidden:>12,}"
        total.update(row)
        lines.append(line)
    last = f"{'sum':<16}{total['esconv']:>8,}{total['reddit']:>9,}{total['ours']:>8,}"
    if set(scheme.categories) == set(PUBLISHED):
        last += f"   {total['b_esconv']:>10,}{total['b_reddit']:>9,}{total['b']:>8,}{total['gap']:>12,}"
    return "\n".join([*lines, last])


_NOTES = """\
A turn counts in every category that holds its strategy or mechanism, as in study B (36,209 for its 28,505 rows).
{fallback}: of ours, {neither:,} EPITOME rows show no mechanism; study B's count holds none of these.
not public: EPITOME rows of level > 0 that study B counts and the published Reddit files (3,084 rows) don't have.
Study B seems to hold pairs that were never released, so its corpus can't be rebuilt; this gap is expected.
B: ESConv is the arithmetic of ESConv's page (with 3,661 for Others), B: EPITOME is B's total less that."""


def main(argv: list[str] | None = None) -> int:
    """Prints the table.

    Returns:
        0.

    Raises:
        UserError: No data is given, or a file can't be used.
    """
    parser = argparse.ArgumentParser(
        prog="python cli.py strategies",
        description="Count our merged corpus of strategies beside study B's table.",
        allow_abbrev=False,
    )
    parser.add_argument("--esconv", nargs="+", default=[], metavar="FILE", help="ESConv.json and its relatives")
    parser.add_argument("--reddit", metavar="DIR", help="folder with the three EPITOME files")
    parser.add_argument("--scheme", metavar="FILE", help="another scheme than study B's (datamodules/strategies.yaml)")
    options = parser.parse_args(argv)
    if not options.esconv and not options.reddit:
        raise UserError("no data: give --esconv FILE... or --reddit DIR")
    scheme = load_scheme(options.scheme)
    esconv = count_parts(_read_esconv(options.esconv))
    reddit = count_parts(_read_reddit(options.reddit)) if options.reddit else Counter[str]()
    print(_strategy_lines(esconv))
    print()
    print(corpus_table(esconv, reddit, scheme, neither=reddit["neither"]))
    if set(scheme.categories) == set(PUBLISHED):
        print()
        print(_NOTES.format(fallback=scheme.fallback, neither=reddit["neither"]))
    return 0


def _strategy_lines(counts: Mapping[str, int]) -> str:
    lines = [f"{'strategy':<30}{'ours':>8}{'ESConv page':>14}"]
    lines += [f"{name:<30}{counts.get(name, 0):>8,}{PUBLISHED_STRATEGIES[name]:>14,}" for name in STRATEGIES]
    lines.append(f"{'(supporter turns without one)':<30}{counts.get('unlabelled', 0):>8,}")
    return "\n".join(lines)


def _read_esconv(files: Sequence[str]) -> list[Dialogue]:
    from datamodules.sources.esconv import read_esconv

    return [dialogue for file in files for dialogue in read_esconv(Path(file))[0]]


def _read_reddit(folder: str) -> list[Dialogue]:
    from datamodules.dialogues import from_pair
    from datamodules.sources.epitome import read_epitome

    return [from_pair(pair) for pair in read_epitome(Path(folder))[0]]
