import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import UserError
from synthesis.targets import Cell, Plan, Targets


def test_cells_names_and_even_shares():
    targets = Targets(methods=["standalone", "reflexion"], mechanisms=["explorations"], levels=[0, 2], dialogues=10)
    wanted = targets.wanted(targets.cells([], []))
    assert {cell.name: n for cell, n in wanted.items()} == {
        "explorations/0/standalone": 3,
        "explorations/2/standalone": 3,
        "explorations/0/reflexion": 2,
        "explorations/2/reflexion": 2,
    }
    assert Cell("standalone", "explorations", 2).dialogue(7, 3) == "explorations-2-standalone-s7-00003"


def test_quotas_are_taken_out_of_the_even_shares():
    targets = Targets(mechanisms=["explorations"], dialogues=4, quotas={"explorations/1/reflexion": 9})
    assert list(targets.wanted(targets.cells([], [])).values()) == [2, 9, 2]


def test_strategies_times_problems():
    targets = Targets(kind="strategy", strategies=["Question"], dialogues=5)
    cells = targets.cells(["Question", "Others"], ["job crisis", "grief"])
    assert [cell.name for cell in cells] == ["Question/job crisis/reflexion", "Question/grief/reflexion"]
    assert cells[0].target == {"strategy": "Question", "problem": "job crisis"}
    assert cells[0].dialogue(0, 12) == "question-job-crisis-reflexion-s0-00012"


def test_an_unknown_quota():
    targets = Targets(quotas={"explorations/3/reflexion": 1})
    with pytest.raises(UserError, match="'explorations/3/reflexion'; the cells are"):
        targets.wanted(targets.cells([], []))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": [0, 3]}, "targets.levels"),
        ({"levels": []}, "targets.levels"),
        ({"methods": ["reflexion", "reflexion"]}, "targets.methods"),
        ({"strategies": ["Question"]}, "no meaning with targets.kind empathy"),
        ({"kind": "strategy", "problems": []}, "targets.problems"),
        ({"exchanges": 0}, "targets.exchanges"),
        ({"quotas": {"a": -1}}, "targets.quotas.a"),
    ],
)
def test_bad_targets(options, message):
    with pytest.raises(UserError, match=message):
        Targets(**options)


@settings(deadline=None)
@given(
    quotas=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    share=st.floats(0, 1),
    at_once=st.integers(1, 9),
    seed=st.integers(),
)
def test_the_dialogues_begun_are_the_shortest_sequence_that_fills_the_quota(quotas, share, at_once, seed):
    order = random.Random(seed)
    targets = Targets(spare=1.0)
    cells = [Cell("reflexion", "explorations", 0), Cell("reflexion", "explorations", 1)]
    fate = {cell: [order.random() < share for _ in range(40)] for cell in cells}
    plan = Plan(dict(zip(cells, quotas, strict=True)), targets)
    running: list = []
    while True:
        while len(running) < at_once and (item := plan.next()):
            running.append(item)
        if not running:
            break
        cell, index = running.pop(order.randrange(len(running)))
        plan.done(cell, accepted=fate[cell][index])
    for cell, quota in zip(cells, quotas, strict=True):
        needed = next((n for n in range(41) if sum(fate[cell][:n]) == quota), 41)
        assert plan.begun[cell] == min(needed, targets.limit(quota))
        assert plan.accepted[cell] == sum(fate[cell][: plan.begun[cell]])
    assert dict(plan.unmet()) == {c: q - plan.accepted[c] for c, q in plan.wanted.items() if plan.accepted[c] < q}
