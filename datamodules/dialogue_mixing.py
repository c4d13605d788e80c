"""The mixes of `datamodules.mixing` for rows with labels instead of levels."""

from __future__ import annotations

from collections.abc import Sequence

from datamodules.mixing import Mix, MixOptions, apportion, draw_as_asked, seeded_order
from datamodules.turn_rows import TurnRow
from errors import UserError

__all__ = ["mix_turn_rows"]


def mix_turn_rows(rows: Sequence[TurnRow], base: Sequence[int], synthetic: Sequence[int], options: MixOptions) -> Mix:
    """Carries out `options`: augment evenly over the labels, substitute label by label, or draw by ratio.

    Draws are nested, as there.

    Args:
        rows: All rows; row numbers index into it.
        base: Real training rows.
        synthetic: Synthetic rows that may train.
        options: What to do; `mechanism` has no meaning here.

    Raises:
        UserError: A label has too few synthetic rows, or an option has no meaning.
    """
    if options.mechanism is not None:
        raise UserError("--data.mix.mechanism has no meaning for dialogues; their mixes go by label: leave it out")
    if options.mode == "ratio":
        return draw_as_asked(rows, [*base, *synthetic], options)
    if options.mode == "substitute":
        return _substitute(rows, base, synthetic, options)
    if options.count is None:
        return Mix([*base, *synthetic], added=list(synthetic))
    pool = _by_label(rows, seeded_order(rows, synthetic, options.seed, "add"))
    labels = sorted({*pool, *_by_label(rows, base)})
    wanted = {
        label: options.count // len(labels) + (place < options.count % len(labels))
        for place, label in enumerate(labels)
    }
    added = _take(wanted, pool, f"--data.mix.count {options.count}")
    return Mix([*base, *added], added=added)


def _substitute(rows: Sequence[TurnRow], base: Sequence[int], synthetic: Sequence[int], options: MixOptions) -> Mix:
    leaving = _by_label(rows, seeded_order(rows, base, options.seed, "remove"))
    coming = _by_label(rows, seeded_order(rows, synthetic, options.seed, "add"))
    labels = sorted(leaving)
    count = round(options.share * len(base))
    if not count:
        return Mix(list(base))
    wanted = dict(zip(labels, apportion(count, [len(leaving[label]) for label in labels]), strict=True))
    added = _take(wanted, coming, f"--data.mix.share {options.share}")
    removed = [row for label in labels for row in leaving[label][: wanted[label]]]
    gone = set(removed)
    return Mix([*(row for row in base if row not in gone), *added], added=added, removed=removed)


def _by_label(rows: Sequence[TurnRow], members: Sequence[int]) -> dict[str, list[int]]:
    """Row numbers by label; rows of several labels, or of none, form labels of their own."""
    found: dict[str, list[int]] = {}
    for row in members:
        found.setdefault("+".join(rows[row].labels), []).append(row)
    return found


def _take(wanted: dict[str, int], pool: dict[str, list[int]], option: str) -> list[int]:
    found = {label: pool.get(label, []) for label in wanted}
    short = [
        f"{number} rows {f'of {label!r}' if label else 'without a label'} are wanted, "
        f"the synthetic rows have {len(found[label])}"
        for label, number in wanted.items()
        if number > len(found[label])
    ]
    if short:
        raise UserError(f"{option}: {'; '.join(short)}. Lower it, or add synthetic rows of that label")
    return [row for label, number in wanted.items() for row in found[label][:number]]
