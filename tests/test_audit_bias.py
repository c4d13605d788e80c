"""Swaps, introductions, and whether a biased model is found out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from audit.bias import add_bias
from audit.counterfactuals import counterfactuals
from audit.groups import GROUPS, Group, introduce, mentions, read_groups, swap
from audit.material import prepare
from audit.report import Report
from audit.rows import RowSet
from audit.vectors import TfidfVectors
from datamodules.records import Pair
from errors import DataError

AXES = read_groups(GROUPS)
MASCULINE, FEMININE = AXES["gender"][:2]


@pytest.mark.parametrize(
    ("feminine", "masculine"),
    [
        ("She left me", "He left me"),
        ("I told her about her sister", "I told him about his brother"),
        ("SHE said it to her.", "HE said it to him."),
        ("her, and her mom too", "him, and his dad too"),
        ("that phone is hers", "that phone is his"),
        ("I saw herself's ghost, shelter, there", "I saw himself's ghost, shelter, there"),
    ],
)
def test_words_of_one_group_take_the_place_of_the_others(feminine, masculine):
    assert swap(feminine, FEMININE, MASCULINE) == masculine


def test_the_way_back_chooses_by_the_next_word():
    assert swap("his brother saw him, it was his", MASCULINE, FEMININE) == "her sister saw her, it was hers"


def test_names_are_names_only_when_written_so():
    first, second = AXES["names"][0], AXES["names"][2]
    assert swap("Greg and Neil", first, second) == "Jamal and Tremayne"
    assert not mentions("neil", first)
    assert mentions("I met NEIL? no, Neil", first)


def test_introductions_take_words_in_turn():
    group = Group("g", "My name is {}.", ["Ada", "Bo"])
    assert [introduce("Hi", group, number) for number in (0, 1, 2)] == [
        "My name is Ada. Hi",
        "My name is Bo. Hi",
        "My name is Ada. Hi",
    ]


def test_bad_groups_are_named_all_at_once(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text(
        "a: {x: {says: I.}}\nb: {x: {words: [p]}, y: {words: [q, r]}, z: {}}\nc: {x: {words: [yes]}, y: {words: [on]}}"
    )
    with pytest.raises(DataError) as error:
        read_groups(path)
    text = str(error.value)
    assert "a: an axis has two groups" in text
    assert "b: its groups have [1, 2] words" in text
    assert "b, z:" in text
    assert "c, x:" in text, "an unquoted yes is no word in YAML"


def _pair(number, post, response="I hear you", **levels):
    return Pair(str(number), "synthetic", post, response, generator="g", levels=levels)


def test_contrasts_differ_in_the_group_alone():
    rows = RowSet(
        [
            _pair(0, "He left"),
            _pair(1, "She stayed"),
            _pair(2, "He and she"),
            _pair(3, "She stayed on", "Is she well?"),
            _pair(4, "Rain"),
        ]
    )
    contrasts, left_out = counterfactuals(rows, {"gender": [MASCULINE, FEMININE]}, most=10, seed=0, fewest=1)
    said, swapped = contrasts
    assert [pair.seeker_post for pair in said.rows][:2] == ["I am a woman. He left", "I am a woman. She stayed"]
    assert [pair.seeker_post for pair in said.reference_rows][4] == "I am a man. Rain"
    assert [pair.seeker_post for pair in swapped.reference_rows] == ["He left", "He stayed"]
    assert [pair.seeker_post for pair in swapped.rows] == ["She left", "She stayed"]
    assert {pair.response_post for pair in swapped.rows} == {"I hear you"}
    assert left_out == 2


@dataclass
class _Score:
    levels: dict[str, int]
    probabilities: dict[str, list[float]]


class _Model:
    """Sees less empathy where the post speaks of a woman."""

    def __init__(self, bias):
        self.bias = bias

    def score(self, pairs):
        return [self._one(mentions(pair.seeker_post, FEMININE), int(pair.id) % 7 / 100) for pair in pairs]

    def _one(self, woman, noise):
        strong = 0.5 - (self.bias if woman else 0) + noise
        return _Score({"explorations": 2 if strong > 0.4 else 0}, {"explorations": [1 - strong, 0, strong]})


def _report(bias, count=30):
    posts = [f"{'He' if i % 2 else 'She'} left in spring number {i}" for i in range(count)]
    rows = RowSet([_pair(i, post, explorations=2 if i % 2 else 0) for i, post in enumerate(posts)])
    material = prepare(rows, None, None, TfidfVectors(), sample=count, seed=0)
    report = Report("t", {})
    add_bias(report, material, {"gender": [MASCULINE, FEMININE]}, _Model(bias), rows=count)
    return report


def test_a_biased_model_is_found_out_and_the_intended_levels_are_compared():
    report = _report(0.2)
    said = report.values["bias/predicted/gender/feminine-masculine/said/explorations"]
    swapped = report.values["bias/predicted/gender/feminine-masculine/swapped/explorations"]
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-0.4, -0.4, -0.4))
    assert swapped.n == 30
    assert said.high < 0
    intended = report.values["bias/intended/gender/feminine-masculine/explorations"]
    assert intended.value == -2
    assert report.values["bias/synthetic/mentions/gender/feminine"].value == 0.5


def test_a_model_without_bias_is_not_accused():
    report = _report(0.0)
    found = report.values["bias/predicted/gender/feminine-masculine/swapped/explorations"]
    assert found.value == pytest.approx(0)


def test_the_summary_says_which_groups_differ_most():
    rows = RowSet([_pair(i, f"Rain in spring number {i}") for i in range(30)])
    material = prepare(rows, None, None, TfidfVectors(), sample=30, seed=0)
    axes = {"sex/gender": [Group("non-binary", "I am non-binary."), FEMININE]}
    ((name, told),) = add_bias(Report("t", {}), material, axes, _Model(0.2), rows=30)
    assert name == "Bias"
    assert told.startswith("1 of 1 comparisons")
    assert told.endswith("feminine against non-binary in explorations, by -0.400 (-0.400 to -0.400).")
