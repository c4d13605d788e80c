import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.records import Pair, normalise
from datamodules.splits import (
    NEAR_DUPLICATE,
    SHORT_POST,
    Leak,
    SplitOptions,
    find_leaks,
    group_rows,
    hash_ids,
    seeded_key,
    split_groups,
)
from errors import UserError

MOVED = "I feel so alone since my sister moved far away to Rome"  # 12 words, 10 shingles
POSTS = (
    MOVED,
    MOVED.upper() + " !!!",  # the same after normalisation
    MOVED.replace("Rome", "Oslo"),  # 9 of 11 shingles
    MOVED.replace("far away to Rome", "far away"),  # 8 of 10 shingles: exactly the threshold
    MOVED.replace("alone", "down"),  # 7 of 13
    "Work has been crushing me for weeks",
    "yes",
    "Yes.",
    "thank you",
    "no no no",
    "no no no no",  # the same single shingle as above, and short
    "no no no no no",
    "no no no no no no",
)


def pair(id_, seeker=MOVED, response="Oh no.", group="", source="reddit", generator=""):
    return Pair(id_, source, seeker, response, group, generator)


@st.composite
def some_pairs(draw):
    count = draw(st.integers(0, 10))
    return [
        pair(
            str(number),
            draw(st.sampled_from(POSTS)),
            draw(st.sampled_from(["Oh no.", "oh no", "Tell me more."])),
            draw(st.sampled_from(["", "", "a", "b", "c"])),
            draw(st.sampled_from(["reddit", "clinical"])),
        )
        for number in range(count)
    ]


def shingles(post):
    words = normalise(post).split()
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)} if len(words) >= SHORT_POST else set()


def kinship(one, other):
    """The strongest reason for which two rows belong together, step by step; None where they don't."""
    same_post = normalise(one.seeker_post) == normalise(other.seeker_post)
    if same_post and normalise(one.response_post) == normalise(other.response_post):
        return "same pair"
    groups = [(row.source, row.generator, row.group) for row in (one, other) if row.group]
    short = len(normalise(one.seeker_post).split()) < SHORT_POST
    if same_post and not (short and len(set(groups)) == 2):
        return "same seeker post"
    if len(groups) == 2 and groups[0] == groups[1]:
        return "same group"
    mine, theirs = shingles(one.seeker_post), shingles(other.seeker_post)
    if not same_post and mine | theirs and len(mine & theirs) / len(mine | theirs) >= NEAR_DUPLICATE:
        return "near-duplicate seeker post"
    return None


def components(pairs):
    """Which rows are connected by kinship, as a set of sets of ids."""
    left, found = list(pairs), set()
    while left:
        members = [left.pop()]
        for member in members:
            kin = [other for other in left if kinship(member, other)]
            members += kin
            left = [other for other in left if other not in kin]
        found.add(frozenset(member.id for member in members))
    return found


def partition(pairs):
    groups = group_rows(pairs)
    return {frozenset(p.id for p, group in zip(pairs, groups, strict=True) if group == name) for name in groups}


# ---------------------------------------------------------------- options and keys


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": -0.1}, r"--data\.split\.validation is -0\.1; it is a share from 0 to 1"),
        ({"test": 1.5}, r"--data\.split\.test is 1\.5; it is a share from 0 to 1"),
        ({"test": float("nan")}, r"--data\.split\.test is nan"),
        ({"validation": 0.5, "test": 0.6}, r"validation 0\.5 and --data\.split\.test 0\.6 add up to more than 1"),
    ],
)
def test_shares_that_are_none(options, message):
    with pytest.raises(UserError, match=message):
        SplitOptions(**options)


def test_ids_hash_ignores_order_and_keeps_repeats():
    assert hash_ids(["b", "a"]) == hash_ids(["a", "b"])
    assert len({hash_ids([]), hash_ids(["a"]), hash_ids(["a", "a"]), hash_ids(["ab"])}) == 4


def test_the_key_of_an_order_is_made_of_seed_and_name():
    assert seeded_key(0, "a") == seeded_key(0, "a")
    assert len({seeded_key(0, "a"), seeded_key(1, "a"), seeded_key(0, "b"), seeded_key(-1, "a")}) == 4


# ---------------------------------------------------------------- groups


def test_what_makes_a_group():
    rows = [
        pair("a", MOVED, "Oh no."),
        pair("b", MOVED.lower() + "?", "Tell me more."),  # the same seeker post
        pair("c", MOVED.replace("Rome", "Oslo"), "I see."),  # a near-duplicate
        pair("d", "Work has been crushing me for weeks", "I see.", group="x"),
        pair("e", "Nobody calls any more since then", "I see.", group="x"),  # the same group
        pair("f", "Nobody at all calls me any more", "I see.", group="x", source="clinical"),  # of another source
    ]
    groups = group_rows(rows)
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3
    assert group_rows(rows, "row") == ["reddit::a", "reddit::b", "reddit::c", "reddit::d", "reddit::e", "clinical::f"]


def test_short_posts_join_no_groups_of_their_own():
    rows = [
        pair("a", "Thank you", "Gladly.", group="x"),
        pair("b", "thank you!", "Any time.", group="y"),
        pair("c", "thank you", "Any time.", group="z"),  # the same pair as b
    ]
    assert partition(rows) == {frozenset("a"), frozenset("bc")}
    without_group = pair("d", "Thank you.", "Of course.")
    assert partition([*rows, without_group]) == {frozenset("abcd")}


def test_short_posts_have_no_near_duplicates():
    """'no no no' and 'no no no no' have the same shingles; the guard must see them as the groups do."""
    rows = [pair("a", "no no no", "A.", "x"), pair("b", "no no no", "B.", "y"), pair("c", "no no no no", "C.", "z")]
    assert len(set(group_rows(rows))) == 3
    assert find_leaks(rows[:1], rows[1:]) == find_leaks(rows[2:], rows[:2]) == []


@given(some_pairs())
@settings(deadline=None, max_examples=200)
def test_groups_are_the_connected_rows(pairs):
    assert partition(pairs) == components(pairs)


@given(some_pairs(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_names_of_groups_do_not_depend_on_the_order_of_rows(pairs, shuffler):
    names = dict(zip([p.id for p in pairs], group_rows(pairs), strict=True))
    shuffled = shuffler.sample(pairs, len(pairs))
    assert dict(zip([p.id for p in shuffled], group_rows(shuffled), strict=True)) == names


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=12).map(" ".join), max_size=8, unique=True))
@settings(deadline=None, max_examples=200)
def test_near_duplicates_are_found_exactly(posts):
    rows = [pair(str(number), post, f"Reply {number}.") for number, post in enumerate(posts)]
    assert partition(rows) == components(rows)


# ---------------------------------------------------------------- the division

SHARES = st.sampled_from([(0.05, 0.2), (0.0, 0.2), (0.1, 0.0), (0.0, 0.0), (0.0, 1.0), (0.82, 0.18), (0.3, 0.3)])


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sets(st.sampled_from("uvwxyz"))), max_size=60),
    SHARES,
    st.integers(-1, 3),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=100)
def test_division(rows, shares, seed, shuffler):
    options = SplitOptions(*shares, seed=seed)
    rows = [(number, f"g{group}", sorted(strata)) for number, (group, strata) in enumerate(rows)]

    def divide(some):
        parts = split_groups([group for _, group, _ in some], [strata for _, _, strata in some], options)
        return dict(zip([number for number, _, _ in some], parts.tolist(), strict=True))

    parts = divide(rows)
    sides = {group: {parts[n] for n, other, _ in rows if other == group} for _, group, _ in rows}
    assert all(len(side) == 1 for side in sides.values())
    assert divide(shuffler.sample(rows, len(rows))) == parts
    for part, share in enumerate((1 - sum(shares), *shares)):
        if round(share, 9) == 0:
            assert part not in parts.values()


@given(st.integers(1, 80), SHARES, st.integers(0, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_the_shares_are_met_as_far_as_groups_allow(count, shares, seed, largest):
    sizes = [1 + number % largest for number in range(count)]
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    parts = split_groups(groups, [["x"]] * len(groups), SplitOptions(*shares, seed=seed))
    for part, share in enumerate((1 - sum(shares), *shares)):
        assert abs((parts == part).sum() - share * len(groups)) <= largest


def test_each_level_has_its_share_in_every_split():
    """Levels as rare as in the corpus: 20 of 1,000 rows, two rows a group."""
    draw = random.Random(4)
    levels = [["er/2"] * (n < 20) + ["ip/1"] * (n % 25 == 7) + [f"ex/{draw.choice('012')}"] for n in range(1000)]
    groups = [f"g{n // 2}" for n in range(1000)]
    counts = {}
    for seed in range(3):
        parts = split_groups(groups, levels, SplitOptions(seed=seed))
        counts[seed] = [
            [sum(stratum in levels[row] for row in np.flatnonzero(parts == part)) for part in range(3)]
            for stratum in ("er/2", "ip/1")
        ]
        sizes = np.bincount(parts).tolist()
        assert all(abs(size - wanted) <= 10 for size, wanted in zip(sizes, (750, 50, 200), strict=True))
    for er, ip in counts.values():
        assert er in ([14, 2, 4], [16, 0, 4])
        assert all(abs(found - wanted) <= 2 for found, wanted in zip(ip, (30, 2, 8), strict=True))


def test_another_seed_is_another_division():
    groups = [str(number) for number in range(100)]
    tests = [np.flatnonzero(split_groups(groups, [["x"]] * 100, SplitOptions(seed=seed)) == 2) for seed in range(3)]
    assert [len(test) for test in tests] == [20, 20, 20]
    assert len({tuple(test) for test in tests}) == 3


# ---------------------------------------------------------------- the guard


def test_the_guard_names_rows_and_the_strongest_reason():
    evaluation = [
        pair("e1", MOVED, "Oh no.", source="clinical", group="s"),
        pair("e2", "Thank you", "Gladly.", source="clinical", group="t"),
    ]
    train = [
        pair("t1", MOVED + "!", "oh no", source="synthetic", generator="gpt"),
        pair("t2", MOVED, "Tell me more."),
        pair("t3", "Another matter altogether, of my work", "I see.", source="clinical", group="s"),
        pair("t4", MOVED.replace("Rome", "Oslo"), "I see."),
        pair("t5", "thank you", "Any time.", source="clinical", group="u"),  # short, and groups differ
        pair("t6", "thank you", "Any time."),  # short, and no group says otherwise
        pair("t7", "Nobody calls any more since then", "I see.", group="s"),  # a group of another source
        pair("t8", MOVED, "oh no", source="clinical", group="s"),  # pair, post and group
    ]
    assert find_leaks(train, evaluation) == [
        Leak("synthetic:gpt:t1", "clinical::e1", "same pair"),
        Leak("reddit::t2", "clinical::e1", "same seeker post"),
        Leak("clinical::t3", "clinical::e1", "same group"),
        Leak("reddit::t4", "clinical::e1", "near-duplicate seeker post"),
        Leak("reddit::t6", "clinical::e2", "same seeker post"),
        Leak("clinical::t8", "clinical::e1", "same pair"),
    ]
    assert find_leaks(train, []) == find_leaks([], evaluation) == find_leaks([], []) == []


@given(some_pairs(), some_pairs())
@settings(deadline=None, max_examples=200)
def test_the_guard_finds_all_and_only_kin(train, evaluation):
    expected = Counter(
        Leak(one.uid, other.uid, why) for one in train for other in evaluation if (why := kinship(one, other))
    )
    assert Counter(find_leaks(train, evaluation)) == expected


@given(some_pairs(), SHARES, st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_the_guard_finds_nothing_in_a_split_by_groups(pairs, shares, seed):
    parts = split_groups(group_rows(pairs), [["x"] for _ in pairs], SplitOptions(*shares, seed=seed))
    sides = [[p for p, part in zip(pairs, parts, strict=True) if part == side] for side in range(3)]
    assert find_leaks(sides[0], [*sides[1], *sides[2]]) == []
    assert find_leaks(sides[1], sides[2]) == []


def test_a_row_by_row_split_leaks_and_the_guard_says_so():
    pairs = [pair(str(number), f"{MOVED}, day {number // 4} of it", f"Reply {number}.") for number in range(200)]
    parts = split_groups(group_rows(pairs, "row"), [["x"] for _ in pairs], SplitOptions(by="row"))
    train = [p for p, part in zip(pairs, parts, strict=True) if part == 0]
    test = [p for p, part in zip(pairs, parts, strict=True) if part == 2]
    assert "same seeker post" in {leak.why for leak in find_leaks(train, test)}


def test_thousands_of_rows_take_seconds():
    """Half of the posts follow one template, so that their shingles are frequent; some are short."""
    draw = random.Random(0)
    words = [f"w{number}" for number in range(5000)]
    frequencies = [1 / rank for rank in range(1, 5001)]

    def post():
        drawn = draw.choices(words, frequencies, k=40)
        kind = draw.random()
        template = f"I feel {drawn[0]} because my {drawn[1]} left me and I can not {drawn[2]} any more these days"
        return template if kind < 0.5 else " ".join(drawn[:2] if kind < 0.6 else drawn)

    pairs = [pair(str(number), post(), f"Reply {number}.", group=f"g{number // 3}") for number in range(5000)]
    start = time.process_time()
    parts = split_groups(group_rows(pairs), [[str(number % 9)] for number in range(5000)], SplitOptions())
    train, *evaluation = ([p for p, part in zip(pairs, parts, strict=True) if part == side] for side in range(3))
    assert find_leaks(train, [p for side in evaluation for p in side]) == []
    assert time.process_time() - start < 10
