from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datamodules.mixing import MixOptions, apportion, augment, draw_ratio, mix_rows, substitute
from datamodules.records import Pair
from errors import UserError

IP, ER = "interpretations", "emotional_reactions"
SOME = settings(deadline=None, max_examples=60)


def rows_of(source, levels, generator=""):
    """A row a level; None is not annotated for interpretations."""
    return [
        Pair(
            f"{generator}{number}",
            source,
            f"Post {number}",
            "Reply",
            generator=generator,
            levels={ER: 0} if level is None else {IP: level},
        )
        for number, level in enumerate(levels)
    ]


LEVELS = st.lists(st.sampled_from([0, 0, 0, 1, 2, None]), max_size=40)


@st.composite
def base_and_synthetic(draw):
    """Base rows of two sources and synthetic rows of two generators."""
    pairs = rows_of("reddit", draw(LEVELS)) + rows_of("clinical", draw(LEVELS))
    size = len(pairs)
    pairs += rows_of("synthetic", draw(LEVELS), "gpt") + rows_of("synthetic", draw(LEVELS), "falcon")
    return pairs, list(range(size)), list(range(size, len(pairs)))


def uids(pairs, rows):
    return [pairs[row].uid for row in rows]


def levels(pairs, rows):
    return Counter(pairs[row].levels.get(IP) for row in rows)


def reordered(case, order):
    """The same rows in another order: of files, and within them."""
    pairs, base, synthetic = case
    order = order.sample(range(len(pairs)), len(pairs))
    place = {row: new for new, row in enumerate(order)}
    return [pairs[row] for row in order], sorted(place[row] for row in base), sorted(place[row] for row in synthetic)


# ---------------------------------------------------------------- apportion


def hamilton(total, sizes):
    """The largest-remainder division with whole numbers; ties go to the earlier part."""
    whole = sum(sizes)
    seats = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda part: -(total * sizes[part] % whole))
    for part in by_remainder[: total - sum(seats)]:
        seats[part] += 1
    return seats


def is_nested(smaller, larger):
    return all(few <= many for few, many in zip(smaller, larger, strict=True))


def test_apportion_by_hand():
    assert apportion(308, [2037, 895, 152]) == [204, 89, 15]  # 203.4, 89.4, 15.2
    assert apportion(308, [1626, 114, 1344]) == [163, 11, 134]  # 162.4, 11.4, 134.2: the seat goes where .4 is larger
    assert apportion(3, [1, 1]) == [2, 1]
    assert apportion(2, [1, 1, 1]) == [1, 1, 0]
    assert apportion(4, [0.7, 0.3]) == [3, 1]
    assert apportion(5, [0, 1, 0]) == [0, 5, 0]
    assert apportion(0, [3, 4]) == [0, 0]


def test_apportion_avoids_the_alabama_paradox():
    """With one seat more, the largest remainder alone would take a seat from the smallest part."""
    sizes = [6, 6, 2]
    assert [hamilton(total, sizes) for total in (10, 11)] == [[4, 4, 2], [5, 5, 1]]
    assert [apportion(total, sizes) for total in (10, 11, 12)] == [[4, 4, 2], [5, 4, 2], [5, 5, 2]]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any), st.integers(0, 120))
@SOME
def test_apportion_is_the_largest_remainder_unless_that_would_take_a_seat_away(sizes, total):
    path = [apportion(count, sizes) for count in range(total + 1)]
    ideal = [hamilton(count, sizes) for count in range(total + 1)]
    assert all(is_nested(few, many) for few, many in pairwise(path))
    for count, seats in enumerate(path):
        assert sum(seats) == count
        quotas = [count * size / sum(sizes) for size in sizes]
        assert all(abs(got - quota) < 1 for got, quota in zip(seats, quotas, strict=True))
    if all(is_nested(few, many) for few, many in pairwise(ideal)):
        assert path == ideal


# ---------------------------------------------------------------- augment


@given(base_and_synthetic(), st.integers(0, 30), st.integers(0, 30), st.integers(-2, 3), st.randoms())
@SOME
def test_augment(case, smaller, larger, seed, order):
    pairs, base, synthetic = case
    smaller, larger = sorted((smaller, larger))
    available = levels(pairs, synthetic)
    wanted = Counter({level: (larger + 2 - level) // 3 for level in range(3)})
    if any(wanted[level] > available[level] for level in range(3)):
        with pytest.raises(UserError, match=r"^--data\.mix\.count \d+: \d+ (none|weak|strong) rows"):
            augment(pairs, base, synthetic, count=larger, mechanism=IP, seed=seed)
        return
    few, many = (augment(pairs, base, synthetic, count=n, mechanism=IP, seed=seed) for n in (smaller, larger))
    assert many.rows == base + many.added
    assert many.removed == []
    assert len(set(many.added)) == larger
    assert set(few.added) <= set(many.added) <= set(synthetic)
    assert levels(pairs, many.added) == +wanted
    other_pairs, other_base, other_synthetic = reordered(case, order)
    other = augment(other_pairs, other_base, other_synthetic, count=larger, mechanism=IP, seed=seed)
    assert uids(other_pairs, other.added) == uids(pairs, many.added)


def test_augment_with_all_or_none():
    pairs = rows_of("reddit", [0, 1]) + rows_of("synthetic", [2, None])
    everything = augment(pairs, [0, 1], [2, 3], count=None, mechanism=None, seed=0)
    assert (everything.rows, everything.added, everything.removed) == ([0, 1, 2, 3], [2, 3], [])
    nothing = augment(pairs, [0, 1], [2, 3], count=0, mechanism=None, seed=0)
    assert (nothing.rows, nothing.added, nothing.removed) == ([0, 1], [], [])


def test_a_shortage_names_every_level_with_wanted_and_available():
    pairs = rows_of("reddit", [0]) + rows_of("synthetic", [0] * 9 + [1] * 2 + [2] * 3)
    with pytest.raises(UserError) as caught:
        augment(pairs, [0], range(1, 15), count=10, mechanism=IP, seed=0)
    assert str(caught.value) == (
        "--data.mix.count 10: 3 weak rows (level 1) of interpretations are wanted, the synthetic rows have 2. "
        "Lower it, or add synthetic rows of that level"
    )
    with pytest.raises(UserError) as caught:
        augment(pairs, [0], range(1, 15), count=30, mechanism=IP, seed=0)
    assert str(caught.value).count("are wanted") == 3
    with pytest.raises(UserError, match=r"--data\.mix\.mechanism is missing"):
        augment(pairs, [0], range(1, 15), count=3, mechanism=None, seed=0)


def test_another_seed_draws_other_rows():
    pairs = rows_of("synthetic", [0, 1, 2] * 100)
    drawn = [set(augment(pairs, [], range(300), count=30, mechanism=IP, seed=seed).added) for seed in range(3)]
    assert all(len(one & other) < 15 for one, other in pairwise(drawn))


# ---------------------------------------------------------------- substitute


@given(base_and_synthetic(), st.floats(0, 1), st.floats(0, 1), st.integers(-2, 3), st.randoms())
@SOME
def test_substitute(case, smaller, larger, seed, order):
    pairs, base, synthetic = case
    smaller, larger = sorted((smaller, larger))
    annotated = [row for row in base if IP in pairs[row].levels]
    if not annotated:
        assert substitute(pairs, base, synthetic, share=0.0, mechanism=IP, seed=seed).rows == base
        with pytest.raises(UserError, match="no row of the base is annotated for interpretations"):
            substitute(pairs, base, synthetic, share=0.1, mechanism=IP, seed=seed)
        return
    sizes, available = levels(pairs, annotated), levels(pairs, synthetic)
    wanted = Counter(dict(enumerate(apportion(round(larger * len(annotated)), [sizes[level] for level in range(3)]))))
    if any(wanted[level] > available[level] for level in range(3)):
        with pytest.raises(UserError, match="the synthetic rows have"):
            substitute(pairs, base, synthetic, share=larger, mechanism=IP, seed=seed)
        return
    few, many = (substitute(pairs, base, synthetic, share=s, mechanism=IP, seed=seed) for s in (smaller, larger))
    assert sorted(many.rows) == sorted((set(base) - set(many.removed)) | set(many.added))
    assert len(many.rows) == len(base)
    assert levels(pairs, many.rows) == levels(pairs, base)
    assert levels(pairs, many.added) == levels(pairs, many.removed) == +wanted
    assert set(few.added) <= set(many.added) <= set(synthetic)
    assert set(few.removed) <= set(many.removed) <= set(annotated)
    other_pairs, other_base, other_synthetic = reordered(case, order)
    other = substitute(other_pairs, other_base, other_synthetic, share=larger, mechanism=IP, seed=seed)
    assert uids(other_pairs, other.added) == uids(pairs, many.added)
    assert uids(other_pairs, other.removed) == uids(pairs, many.removed)


def test_substitute_errors():
    pairs = rows_of("reddit", [0, 0, 2, 2]) + rows_of("synthetic", [0, 0, 1, 1, 2])
    with pytest.raises(UserError) as caught:
        substitute(pairs, range(4), range(4, 9), share=1.0, mechanism=IP, seed=0)
    assert str(caught.value).startswith(
        "--data.mix.share 1.0: 2 strong rows (level 2) of interpretations are wanted, the synthetic rows have 1."
    )
    with pytest.raises(UserError, match=r"--data\.mix\.mechanism is missing"):
        substitute(pairs, range(4), range(4, 9), share=0.5, mechanism=None, seed=0)
    assert substitute(pairs, range(4), [], share=0.0, mechanism=None, seed=0).rows == [0, 1, 2, 3]


# ---------------------------------------------------------------- ratio

WEIGHT = st.integers(0, 5)
WEIGHTS = st.fixed_dictionaries({"reddit": WEIGHT, "clinical": WEIGHT, "synthetic": st.integers(1, 5)})


@given(base_and_synthetic(), WEIGHTS, st.integers(0, 40), st.integers(0, 40), st.booleans(), st.randoms())
@SOME
def test_ratio(case, weights, smaller, larger, replacement, order):
    pairs, base, synthetic = case
    rows = base + synthetic
    smaller, larger = sorted((smaller, larger))
    options = {"weights": weights, "replacement": replacement, "seed": 3}
    at_hand = Counter(pairs[row].source for row in rows)
    drawing = sorted(source for source, weight in weights.items() if weight)
    wanted = Counter(dict(zip(drawing, apportion(larger, [weights[source] for source in drawing]), strict=True)))
    if any(not at_hand[source] for source in drawing):
        with pytest.raises(UserError, match="of which no row may train; there are: "):
            draw_ratio(pairs, rows, count=larger, **options)
        return
    if not replacement and any(wanted[source] > at_hand[source] for source in drawing):
        with pytest.raises(UserError, match=f"with --data.mix.count {larger}: .*are wanted, there are"):
            draw_ratio(pairs, rows, count=larger, **options)
        return
    few, many = (draw_ratio(pairs, rows, count=count, **options) for count in (smaller, larger))
    assert Counter(few.rows) <= Counter(many.rows)  # repeats counted
    assert Counter(pairs[row].source for row in many.rows) == +wanted
    assert replacement or len(set(many.rows)) == larger
    assert many.added == [row for row in many.rows if row in synthetic]
    assert sorted({*many.rows, *many.removed}) == sorted(rows)
    assert not set(many.rows) & set(many.removed)
    other_pairs, other_base, other_synthetic = reordered(case, order)
    other = draw_ratio(other_pairs, other_base + other_synthetic, count=larger, **options)
    assert uids(other_pairs, other.rows) == uids(pairs, many.rows)


@given(base_and_synthetic(), WEIGHTS)
@SOME
def test_ratio_without_a_count(case, weights):
    """As many rows as the scarcest source allows; with replacement, as many as there are."""
    pairs, base, synthetic = case
    at_hand = Counter(pairs[row].source for row in base + synthetic)
    assume(all(at_hand[source] for source, weight in weights.items() if weight))
    mix = draw_ratio(pairs, base + synthetic, weights=weights, count=None, replacement=False, seed=0)
    scarcest = min(at_hand[source] * sum(weights.values()) / weight for source, weight in weights.items() if weight)
    assert len(mix.rows) == int(scarcest + 1e-9) > 0
    again = draw_ratio(pairs, base + synthetic, weights=weights, count=None, replacement=True, seed=0)
    assert len(again.rows) == sum(at_hand[source] for source, weight in weights.items() if weight)


def test_ratio_errors():
    pairs = rows_of("reddit", [0, 1]) + rows_of("synthetic", [2])
    options = {"count": 4, "replacement": False, "seed": 0}
    with pytest.raises(UserError) as caught:
        draw_ratio(pairs, range(3), weights={"reddit": 1, "synthetic": 1}, **options)
    assert str(caught.value) == (
        "--data.mix.weights with --data.mix.count 4: 2 rows of synthetic are wanted, there are 1. "
        "Lower the count or the weight, add rows, or set --data.mix.replacement true"
    )
    with pytest.raises(UserError) as caught:
        draw_ratio(pairs, range(3), weights={"redit": 1, "clinical": 1, "reddit": 1}, **options)
    assert str(caught.value) == (
        "--data.mix.weights names clinical, redit, of which no row may train; there are: reddit 2, synthetic 1"
    )


# ---------------------------------------------------------------- options


TOGETHER = "--data.mix.weights and --data.mix.mode ratio go together; one of them is missing"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"count": -1}, "--data.mix.count is -1; it is a number of rows, 0 or more"),
        ({"mode": "substitute", "share": 1.2}, "--data.mix.share is 1.2; it is a share from 0 to 1"),
        ({"share": 0.2}, "--data.mix.share needs --data.mix.mode substitute (it is augment)"),
        (
            {"mode": "substitute", "count": 3},
            "--data.mix.count has no meaning with --data.mix.mode substitute; use --data.mix.share",
        ),
        ({"mode": "ratio"}, TOGETHER),
        ({"weights": {"reddit": 1}}, TOGETHER),
        (
            {"mode": "ratio", "weights": {"reddit": -1.0, "synthetic": 2.0}},
            "--data.mix.weights is {'reddit': -1.0, 'synthetic': 2.0}; weights are 0 or more and not all 0",
        ),
        (
            {"mode": "ratio", "weights": {"reddit": 0.0}},
            "--data.mix.weights is {'reddit': 0.0}; weights are 0 or more and not all 0",
        ),
        ({"replacement": True}, "--data.mix.replacement needs --data.mix.mode ratio (it is augment)"),
    ],
)
def test_options_that_contradict_each_other(options, problem):
    with pytest.raises(UserError) as caught:
        MixOptions(**options)
    assert str(caught.value) == problem


def test_all_problems_of_the_options_at_once():
    with pytest.raises(UserError) as caught:
        MixOptions(count=-1, share=2.0, replacement=True)
    assert len(str(caught.value).splitlines()) == 4


def test_options_choose_the_function():
    pairs = rows_of("reddit", [0, 1, 2]) + rows_of("synthetic", [0, 1, 2])
    base, synthetic = [0, 1, 2], [3, 4, 5]
    for options, expected in [
        (MixOptions(), augment(pairs, base, synthetic, count=None, mechanism=None, seed=0)),
        (MixOptions(count=2, mechanism=IP, seed=1), augment(pairs, base, synthetic, count=2, mechanism=IP, seed=1)),
        (
            MixOptions("substitute", share=0.4, mechanism=IP, seed=1),
            substitute(pairs, base, synthetic, share=0.4, mechanism=IP, seed=1),
        ),
        (
            MixOptions("ratio", count=3, weights={"reddit": 1, "synthetic": 2}, replacement=True, seed=1),
            draw_ratio(pairs, range(6), weights={"reddit": 1, "synthetic": 2}, count=3, replacement=True, seed=1),
        ),
    ]:
        assert mix_rows(pairs, base, synthetic, options) == expected
