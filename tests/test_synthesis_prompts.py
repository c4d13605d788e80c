from pathlib import Path

import pytest
import yaml

from datamodules.dialogues import STRATEGIES
from datamodules.records import Pair
from errors import UserError
from synthesis.prompts import combinations, load_prompts, scenarios, show_examples
from synthesis.targets import Cell

FOLDER = Path(__file__).parents[1] / "configs" / "synthesis" / "prompts"
CELLS = [
    Cell("reflexion", mechanism, level)
    for mechanism in ("emotional_reactions", "interpretations", "explorations")
    for level in (0, 1, 2)
]
CELL = CELLS[8]


@pytest.fixture
def content():
    return yaml.safe_load((FOLDER / "empathy.yaml").read_text())


@pytest.fixture
def load(tmp_path):
    def load(content, kind="empathy", cells=CELLS):
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(content))
        return load_prompts(file, kind, cells)

    return load


def test_the_shipped_empathy_file_has_all_nine_cells_for_every_role():
    prompts = load_prompts(FOLDER / "empathy.yaml", "empathy", CELLS)
    actors = {prompts.template("actor", cell) for cell in CELLS}
    reflections = {prompts.template("reflection", cell) for cell in CELLS}
    assert (len(actors), len(reflections)) == (9, 9)
    assert "strong exploration" in prompts.template("actor", CELL)
    assert "$cell" not in prompts.template("actor", CELL)


def test_the_shipped_strategy_file_has_the_eight():
    prompts = load_prompts(FOLDER / "strategy.yaml", "strategy")
    assert prompts.strategies == list(STRATEGIES)
    assert "labels" not in prompts.frames


def test_messages_hold_the_values_and_nothing_is_read_as_a_placeholder_in_them():
    prompts = load_prompts(FOLDER / "empathy.yaml", "empathy", CELLS)
    values = dict.fromkeys((*prompts.variety, "format", "exchanges", "examples", "memory"), "costs $problem and $$5")
    system, user = prompts.messages("actor", CELL, values)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "struggling with: costs $problem and $$5\n" in user["content"]


def test_without_a_system_text_there_is_one_message(content, load):
    content["frames"]["system"] = ""
    values = {"cell": "", "dialogue": "Seeker: a", "reason": "b"}
    assert [m["role"] for m in load(content).messages("reflection", CELL, values)] == ["user"]


def test_the_version_changes_with_any_text_and_only_then(content, load):
    before = load(content)
    assert load(content).hash == before.hash
    content["cells"]["explorations"][2]["actor"] += " Always."
    after = load(content)
    assert after.hash != before.hash
    assert after.template_hash("actor", CELL) != before.template_hash("actor", CELL)
    assert after.template_hash("actor", CELLS[0]) == before.template_hash("actor", CELLS[0])
    assert after.template_hash("evaluator", CELL) == before.template_hash("evaluator", CELL)


def test_everything_wrong_is_said_at_once(content, load):
    del content["cells"]["explorations"][2]
    content["cells"]["explorations"][1]["actor"] = "Ask $whom."
    content["cells"]["interpretations"][0]["reflection"] = "  "
    content["frames"]["evaluator"] += " costs $5"
    content["frames"]["reflection"] = "About $dialogue and $cell: $mood"
    content["variety"]["style"] = []
    content["variety"]["weather"] = ["rain", "sun"]
    with pytest.raises(UserError) as error:
        load(content)
    for part in (
        "'explorations/2' is missing",
        "'explorations/1', actor: unknown placeholder $whom",
        "'interpretations/0' has no text for 'reflection'",
        "variety.style: give a list of texts",
    ):
        assert part in str(error.value)
    content["variety"]["style"] = ["plain"]
    with pytest.raises(UserError) as error:
        load(content)
    for part in (
        "frames.evaluator: a '$' that begins no placeholder",
        "frames.reflection: unknown placeholder $mood",
        "frames.reflection: $reason is missing",
        "frames.actor: $weather is missing",
    ):
        assert part in str(error.value)


def test_a_cell_that_is_not_asked_for_may_be_missing(content, load):
    del content["cells"]["explorations"][2]
    assert load(content, cells=CELLS[:8]).cells.keys() == {f"{c.mechanism}/{c.level}" for c in CELLS[:8]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("frames"), "needs the mappings"),
        (lambda c: c["frames"].pop("labels"), "frames.labels is missing"),
        (lambda c: c["frames"].update(judge="x"), "frames.judge is unknown"),
        (lambda c: c["cells"].update(warmth={0: {}}), "'warmth/0' is no cell"),
        (lambda c: c["cells"]["explorations"].update({3: {}}), "'explorations/3' is no cell"),
        (lambda c: c["variety"].pop("problem"), "variety.problem is missing"),
        (lambda c: c["variety"].update(memory=["a"]), "variety.memory: choose another name"),
        (lambda c: c["variety"].update(style=["a", "a"]), "variety.style: a text is given twice"),
    ],
)
def test_one_thing_wrong(content, load, change, message):
    change(content)
    with pytest.raises(UserError, match=message):
        load(content)


@pytest.mark.parametrize("text", ["a: [", "- 1", "\xff"])
def test_no_yaml(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_prompts(file, "empathy", CELLS)
    with pytest.raises(UserError, match="No such file"):
        load_prompts(tmp_path / "none.yaml", "empathy", CELLS)


def test_scenarios_never_repeat_cover_the_lists_and_depend_on_seed_and_cell(content, load):
    content["variety"] = {name: ["same"] for name in content["variety"]}
    content["variety"] |= {"problem": list("abcd"), "style": list("xyz")}
    prompts = load(content)
    draws = [(draw["problem"], draw["style"]) for draw in scenarios(prompts, CELL, 7)]
    assert len(draws) == len(set(draws)) == combinations(prompts, CELL) == 12
    assert {problem for problem, _ in draws[:4]} == set("abcd")
    assert {style for _, style in draws[:3]} == set("xyz")
    assert draws == [(draw["problem"], draw["style"]) for draw in scenarios(prompts, CELL, 7)]
    assert draws != [(draw["problem"], draw["style"]) for draw in scenarios(prompts, CELL, 8)]
    assert draws != [(draw["problem"], draw["style"]) for draw in scenarios(prompts, CELLS[0], 7)]


def test_a_strategy_cell_keeps_its_own_problem():
    prompts = load_prompts(FOLDER / "strategy.yaml", "strategy")
    cell = Cell("reflexion", strategy="Question", problem="job crisis")
    draws = scenarios(prompts, cell, 0)
    assert {next(draws)["problem"] for _ in range(20)} == {"job crisis"}
    assert combinations(prompts, cell) == 6 * 6 * 6 * 3 * 6


def test_examples_are_shown_as_json_lines():
    pair = Pair("1", "reddit", 'I "fell".', "Oh no.")
    assert show_examples([pair]).splitlines()[1:] == ['{"seeker_post": "I \\"fell\\".", "response_post": "Oh no."}']
    assert show_examples([]) == ""
