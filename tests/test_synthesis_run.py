import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthesis_players import OTHERS, PROMPTS, Player, dialogue, levels

from datamodules.records import Pair
from datamodules.sources.table import Columns, read_table
from errors import UserError
from inference.scorer import EmpathyScorer
from synthesis.engines import BusyError, RejectedError, Reply, Sampling, Usage
from synthesis.examples import ExampleOptions
from synthesis.limits import Budget, Retry
from synthesis.reflexion import MethodOptions
from synthesis.run import synthesize
from synthesis.scripted import ScriptedEngine
from synthesis.settings import Settings
from synthesis.store import read_log
from synthesis.targets import Targets

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def settings(engine, *, dialogues=1, methods=("reflexion",), level=2, spare=0.0, **options):
    targets = Targets(
        dialogues=dialogues, methods=list(methods), mechanisms=["explorations"], levels=[level], spare=spare
    )
    return Settings(engine, PROMPTS, targets, retry=Retry(times=1, wait=0), **options)


def rows(folder, name="rows.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def log(folder, kind):
    return [record for record in read_log(folder / "attempts.jsonl") if record["kind"] == kind]


def test_reflexion_reflects_on_failure_only_remembers_and_stops_when_passed(tmp_path):
    engine = Player(
        actor=[dialogue("Hm."), dialogue("What?"), dialogue("Does it frighten you?")],
        evaluator=[levels(0, reason="asks nothing"), levels(1, reason="too general"), levels(2)],
        reflection=["Ask something.", "Be  more\nspecific."],
    )
    report = synthesize(settings(engine), tmp_path)
    assert (report.unmet, report.stopped) == ({}, "")
    assert [request.role for request in engine.asked] == [
        "actor", "evaluator", "reflection", "actor", "evaluator", "reflection", "actor", "evaluator", "labels",
    ]  # fmt: skip
    first, second, third = engine.said("actor")
    assert "Advice" not in first
    assert "Advice after your earlier attempts:\n- Ask something." in second
    assert "- Ask something.\n- Be more specific." in third
    assert "What the reader found: asks nothing" in engine.said("reflection")[0]
    assert "Seeker: I feel low.\nResponse 1: Hm." in engine.said("evaluator")[0]
    (end,) = log(tmp_path, "dialogue")
    assert end["stop_reason"] == "passed"
    assert end["trials"] == [
        {"passed": False, "verdict": {"llm": [0]}, "reason": "asks nothing", "reflection": "Ask something."},
        {"passed": False, "verdict": {"llm": [1]}, "reason": "too general", "reflection": "Be more specific."},
        {"passed": True, "verdict": {"llm": [2]}, "reason": "because"},
    ]
    (row,) = rows(tmp_path)
    assert row == {
        "id": "explorations-2-reflexion-s0-00000",
        "source": "synthetic",
        "seeker_post": "I feel low.",
        "response_post": "Does it frighten you?",
        "group": "player-reflexion/explorations-2-reflexion-s0-00000",
        "generator": "player-reflexion",
        "levels": {"emotional_reactions": 1, "interpretations": 0, "explorations": 2},
        "target": {"problem": end["scenario"]["problem"], "mechanism": "explorations", "level": 2},
        "method": "reflexion",
    }


def test_every_call_is_logged_with_all_that_it_was(tmp_path):
    engine = Player(actor=[dialogue("So?")], evaluator=[levels(2)], prices=(1.0, 2.0))
    synthesize(settings(engine), tmp_path)
    actor, evaluator, labels = log(tmp_path, "call")
    assert [record["call_id"].rsplit("/")[-1] for record in (actor, evaluator, labels)] == [
        "0.actor.0", "0.evaluator.0", "0.labels.0",
    ]  # fmt: skip
    assert actor["messages"] == list(engine.asked[0].messages)
    assert (actor["engine"], actor["model"], actor["revision"]) == ("player", "player", "r1")
    assert actor["sampling"] == {"temperature": 1.0, "top_p": 0.95, "max_tokens": 600}
    assert (actor["answer"], actor["prompt_tokens"], actor["completion_tokens"]) == (dialogue("So?"), 100, 10)
    assert (actor["cost"], actor["tries"], actor["seed"]) == (0.00012, 1, engine.asked[0].seed)
    assert len({actor["prompt_hash"], evaluator["prompt_hash"], labels["prompt_hash"]}) == 3
    assert len({actor["seed"], evaluator["seed"], labels["seed"]}) == 3


def test_trials_run_out_and_the_quota_stays_unmet_in_report_and_card(tmp_path):
    engine = Player(actor=[dialogue("Hm.")], evaluator=[levels(0)], reflection=["Ask."])
    report = synthesize(settings(engine, dialogues=2, method=MethodOptions(max_trials=2)), tmp_path)
    assert report.unmet == {"explorations/2/reflexion": 2}
    assert report.failed == {"explorations/2/reflexion": 5}  # 2 wanted, 3 to spare
    assert {end["stop_reason"] for end in log(tmp_path, "dialogue")} == {"max_trials"}
    assert rows(tmp_path) == []
    assert "| explorations/2/reflexion | 2 | 0 | 5 | 2 |" in (tmp_path / "card.md").read_text()
    assert engine.count["reflection"] == 5  # not after the last trial


def test_study_a_keeps_the_last_dialogue_with_the_level_it_was_given(tmp_path):
    engine = Player(actor=[dialogue("Hm."), dialogue("What?")], evaluator=[levels(0), levels(1)], reflection=["Ask."])
    synthesize(settings(engine, method=MethodOptions(max_trials=2, keep_unpassed=True)), tmp_path)
    (row,) = rows(tmp_path)
    assert (row["response_post"], row["levels"]["explorations"]) == ("What?", 1)
    assert log(tmp_path, "dialogue")[0]["stop_reason"] == "max_trials"


def test_memory_is_bounded(tmp_path):
    engine = Player(actor=[dialogue("Hm.")], evaluator=[levels(0)], reflection=["one", "two", "three", "four"])
    synthesize(settings(engine, method=MethodOptions(max_trials=4, memory=2), spare=0), tmp_path)
    assert "earlier attempts:\n- two\n- three" in engine.said("actor")[3]


def test_an_unreadable_answer_is_asked_for_again_then_the_dialogue_failed(tmp_path):
    engine = Player(actor=["Hello!", "{", "nothing", dialogue("What now?")], evaluator=[levels(2)])
    report = synthesize(settings(engine), tmp_path)
    assert report.unmet == {}
    assert [(end["stop_reason"], end["accepted"]) for end in log(tmp_path, "dialogue")] == [
        ("unparsed", False),
        ("passed", True),
    ]
    assert "An earlier answer could not be used: no dialogue in the answer" in engine.said("actor")[1]
    assert len({request.seed for request in engine.asked if request.role == "actor"}) == 4
    assert [row["id"][-5:] for row in rows(tmp_path)] == ["00001"]


def test_half_characters_from_an_engine_break_nothing(tmp_path):
    answer = levels(2, reason="odd \ud83d").replace("\\ud83d", "\ud83d")
    engine = Player(actor=[dialogue("Hm."), dialogue("So?")], evaluator=[levels(0), answer], reflection=["Ask \udc00."])
    assert synthesize(settings(engine), tmp_path).unmet == {}
    assert [record["answer"] for record in log(tmp_path, "call")][2] == "Ask �."
    assert synthesize(settings(Player()), tmp_path).unmet == {}


@pytest.mark.parametrize(
    ("answers", "stop_reason"),
    [
        ({"actor": ["I'm sorry, but I can't help with that."]}, "refused"),
        ({"actor": [Reply("", Usage(), "refusal")]}, "refused"),
        ({"actor": [RejectedError("too long")]}, "refused"),
        ({"actor": [Reply("Person 1: I feel\nPerson 2: wh", Usage(), "length")]}, "unparsed"),
        ({"actor": [dialogue("Hm.")], "evaluator": ["good"]}, "evaluator_unparsed"),
        ({"actor": [dialogue("Hm.")], "evaluator": [levels(2)], "labels": ["good"]}, "evaluator_unparsed"),
        ({"actor": [dialogue("Hm.")], "evaluator": [levels(0)], "reflection": [" "]}, "unparsed"),
    ],
)
def test_what_comes_to_nothing_is_never_a_row(tmp_path, answers, stop_reason):
    report = synthesize(settings(Player(**answers)), tmp_path)
    assert report.unmet == {"explorations/2/reflexion": 1}
    assert {end["stop_reason"] for end in log(tmp_path, "dialogue")} == {stop_reason}
    assert rows(tmp_path) == []


def test_standalone_calls_once_and_is_labelled_not_judged(tmp_path):
    engine = Player(actor=[dialogue("Hm.")], evaluator=[levels(1)])
    synthesize(settings(engine, methods=["standalone"]), tmp_path)
    assert engine.count == {"actor": 1, "evaluator": 1, "labels": 1}
    (row,) = rows(tmp_path)
    assert (row["levels"], row["target"]["level"]) == ({**{m: v[0] for m, v in OTHERS.items()}, "explorations": 1}, 2)
    assert row["generator"] == "player-standalone"


def test_without_an_evaluator_a_row_has_the_level_it_was_asked_for_and_no_other(tmp_path):
    engine = Player(actor=[dialogue("Hm.")])
    synthesize(settings(engine, methods=["standalone"], evaluator="none"), tmp_path)
    assert rows(tmp_path)[0]["levels"] == {"explorations": 2}
    assert engine.count == {"actor": 1}


def test_a_trained_model_judges_and_labels(tmp_path):
    engine = Player(actor=[dialogue("Hm."), dialogue("What!"), dialogue("What!!")], reflection=["More."])
    scorer = {"class_path": "synthesis_players.Judge.load", "init_args": {"most": 2}}
    synthesize(settings(engine, evaluator="model", scorer=scorer), tmp_path)
    assert engine.count == {"actor": 3, "reflection": 2}
    assert rows(tmp_path)[0]["levels"] == dict.fromkeys(OTHERS, 2)
    assert "A trained model rates it none." in engine.said("reflection")[0]
    scored = [record for record in log(tmp_path, "call") if record["role"] == "scorer"]
    assert [record["model"] for record in scored] == ["synthesis_players.Judge"] * 3
    assert [record["prompt_tokens"] for record in scored] == [0, 0, 0]


def test_a_finished_run_is_a_scorer(trained, tmp_path):
    engine = Player(actor=[dialogue("Does it frighten you?"), dialogue("Hm.")], reflection=["More."])
    scorer = {
        "class_path": "inference.scorer.EmpathyScorer.load",
        "init_args": {"run_or_checkpoint": str(trained.folder)},
    }
    synthesize(settings(engine, methods=["standalone"], evaluator="model", scorer=scorer), tmp_path)
    (row,) = rows(tmp_path)
    expected = EmpathyScorer.load(trained.folder).score((row["seeker_post"], row["response_post"])).levels
    assert row["levels"] == expected
    assert engine.count == {"actor": 1}


def test_both_must_agree_and_where_they_differ_there_is_no_label(tmp_path):
    engine = Player(
        actor=[dialogue("What!!"), dialogue("Where!"), dialogue("Who!!")],
        evaluator=[levels(0), levels(2), levels(2)],
        labels=['{"emotional_reactions": [2], "interpretations": [0], "explorations": [0]}'],
        reflection=["More."],
    )
    scorer = {"class_path": "synthesis_players.Judge"}
    synthesize(settings(engine, evaluator="both", scorer=scorer), tmp_path)
    (row,) = rows(tmp_path)
    assert row["response_post"] == "Who!!"
    assert row["levels"] == {"emotional_reactions": 2, "explorations": 2}
    verdicts = [trial["verdict"] for trial in log(tmp_path, "dialogue")[0]["trials"]]
    assert verdicts == [{"model": [2], "llm": [0]}, {"model": [1], "llm": [2]}, {"model": [2], "llm": [2]}]


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ({"class_path": "synthesis_players.Nobody"}, "there is no 'synthesis_players.Nobody'"),
        ({"class_path": "no_such_package.Thing"}, "there is no 'no_such_package.Thing'"),
        ({"class_path": "builtins.dict"}, "gives a dict, which has no method score"),
        ({"path": "x"}, "give class_path"),
        ({"class_path": "synthesis_players.Wrong"}, "for 1 pairs it must give as many scores"),
        ({"class_path": "synthesis_players.Lame"}, "Lame gives no level of explorations"),
    ],
)
def test_a_scorer_that_is_none(tmp_path, scorer, message):
    engine = Player(actor=[dialogue("Hm.")])
    with pytest.raises(UserError, match=message):
        synthesize(settings(engine, evaluator="model", scorer=scorer), tmp_path)


def test_another_engine_may_judge(tmp_path):
    writer, judge = Player("w", actor=[dialogue("Hm."), dialogue("So?")], reflection=["x"]), Player(
        "j", evaluator=[levels(0), levels(2)]
    )  # fmt: skip
    synthesize(settings(writer, judge=judge), tmp_path)
    assert (writer.count, judge.count) == ({"actor": 2, "reflection": 1}, {"evaluator": 2, "labels": 1})


def test_rationales_are_offsets_of_quotes_of_labelled_mechanisms_only(tmp_path):
    response = "So sorry. Are you alone with it?"
    quotes = {"emotional_reactions": [["So sorry."]], "interpretations": [["with it"]], "explorations": [["are you"]]}
    engine = Player(actor=[dialogue(response)], evaluator=[levels(2)], rationales=[json.dumps(quotes)])
    synthesize(settings(engine, method=MethodOptions(rationales=True)), tmp_path)
    assert rows(tmp_path)[0]["rationales"] == {"emotional_reactions": [[0, 9]]}
    assert log(tmp_path, "dialogue")[0]["notes"] == {"quotes_not_in_response": 1}
    assert "emotional_reactions weak, explorations strong" in engine.said("rationales")[0]
    assert "| emotional_reactions | 0 | 1 | 0 | 1 |" in (tmp_path / "card.md").read_text()


def test_longer_dialogues_keep_their_turns_and_give_a_row_for_each_supporter_turn(tmp_path):
    said = [("seeker", "a b"), ("supporter", "c d"), ("seeker", "e f"), ("supporter", "g h")]
    engine = Player(
        actor=[json.dumps({"turns": [{"speaker": who, "text": text} for who, text in said]})],
        evaluator=[levels(0, 2)],
        labels=['{"emotional_reactions": [0, 1], "interpretations": [2, 0], "explorations": [1, 1]}'],
    )
    options = settings(engine)
    options.targets.exchanges = 2
    synthesize(options, tmp_path)
    first, second = rows(tmp_path)
    assert [(r["seeker_post"], r["response_post"]) for r in (first, second)] == [("a b", "c d"), ("e f", "g h")]
    assert first["levels"] == {"emotional_reactions": 0, "interpretations": 2, "explorations": 0}
    assert second["levels"] == {"emotional_reactions": 1, "interpretations": 0, "explorations": 2}
    assert first["group"] == second["group"]
    assert (first["id"][-7:], second["id"][-7:]) == ("00000-1", "00000-2")
    assert first["turns"] == second["turns"] == [{"speaker": who, "text": text} for who, text in said]


def test_strategy_dialogues_have_a_strategy_on_every_supporter_turn(tmp_path):
    def chat(last):
        return "\n".join(["Person 1: a b", "Person 2 (Others): c d", "Person 1: e f", f"Person 2 ({last}): g h"])

    engine = Player(
        actor=[chat("Information"), chat("Question")],
        evaluator=['{"strategies": ["Others", "Information"]}', '{"strategies": ["Self-disclosure", "Question"]}'],
        reflection=["Ask."],
    )
    targets = Targets(
        kind="strategy", strategies=["Question"], problems=["job crisis"], exchanges=2, dialogues=1, spare=0
    )
    synthesize(Settings(engine, "configs/synthesis/prompts/strategy.yaml", targets), tmp_path)
    (row,) = rows(tmp_path)
    assert row["turns"] == [
        {"speaker": "seeker", "text": "a b"},
        {"speaker": "supporter", "text": "c d", "strategy": "Self-disclosure"},
        {"speaker": "seeker", "text": "e f"},
        {"speaker": "supporter", "text": "g h", "strategy": "Question"},
    ]
    assert (row["seeker_post"], row["response_post"]) == ("e f", "g h")
    assert row["target"] == {"problem": "job crisis", "strategy": "Question"}
    assert "levels" not in row
    assert "struggling with: job crisis" in engine.said("actor")[0]


def test_the_same_rows_whatever_the_concurrency_and_other_ones_at_another_seed(tmp_path):
    outputs = []
    for number, (concurrency, seed) in enumerate([(1, 0), (7, 0), (64, 0), (7, 1)]):
        engine = ScriptedEngine(concurrency=concurrency, malformed=0.1, refusals=0.05)
        targets = Targets(dialogues=40, methods=["standalone", "reflexion"])
        options = Settings(engine, PROMPTS, targets, retry=Retry(wait=0), seed=seed)
        assert synthesize(options, tmp_path / str(number)).unmet == {}
        outputs.append((tmp_path / str(number) / "rows.jsonl").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2] != outputs[3]
    assert sum(not end["accepted"] for end in log(tmp_path / "0", "dialogue")) > 0


def test_rows_are_read_by_the_table_reader_as_they_are(tmp_path):
    targets = Targets(dialogues=18, methods=["standalone", "reflexion"])
    options = Settings(ScriptedEngine(), PROMPTS, targets, retry=Retry(wait=0), method=MethodOptions(rationales=True))
    synthesize(options, tmp_path)
    pairs, report = read_table(tmp_path / "rows.jsonl", Columns(), "synthetic")
    assert (len(pairs), report.dropped) == (18, {})
    assert {pair.generator for pair in pairs} == {"scripted-standalone", "scripted-reflexion"}
    assert all(len(pair.levels) == 3 for pair in pairs)
    assert [pair.id for pair in pairs] == [row["id"] for row in rows(tmp_path)]
    spans = [(p.response_post[a:b], m) for p in pairs for m, places in p.rationales.items() for a, b in places]
    assert all(text.endswith((".", "?")) and text[0].isupper() for text, _ in spans)


def test_going_on_asks_nothing_again_and_a_larger_quota_only_adds(tmp_path):
    def run(dialogues):
        engine = ScriptedEngine(name="s")
        targets = Targets(dialogues=dialogues)
        synthesize(Settings(engine, PROMPTS, targets, retry=Retry(wait=0)), tmp_path)
        return engine.tries.total()

    assert run(9) > 0
    before = rows(tmp_path)
    assert run(9) == 0
    assert rows(tmp_path) == before
    assert run(18) > 0
    after = rows(tmp_path)
    assert (len(after), [row for row in after if row in before]) == (18, before)
    ids = [record["call_id"] for record in log(tmp_path, "call")]
    assert len(ids) == len(set(ids))


def test_other_settings_in_the_same_folder_are_refused_naming_what_changed(tmp_path):
    synthesize(settings(Player(actor=[dialogue("So?")], evaluator=[levels(2)])), tmp_path)
    with pytest.raises(UserError, match="seed was 0, is 5"):
        synthesize(settings(Player(), seed=5), tmp_path)
    with pytest.raises(UserError, match=r"engine was .*'model': 'player'.*'model': 'other'"):
        synthesize(settings(Player("other")), tmp_path)


def test_an_answer_to_another_prompt_is_not_taken(tmp_path):
    engine = Player(actor=[dialogue("So?")], evaluator=[UserError("no such model")])
    with pytest.raises(UserError, match="no such model"):
        synthesize(settings(engine), tmp_path)
    path = tmp_path / "attempts.jsonl"
    path.write_text(path.read_text().replace('"request_hash":"', '"request_hash":"0'))
    with pytest.raises(UserError, match="was made with another prompt or engine"):
        synthesize(settings(Player(actor=[dialogue("So?")], evaluator=[levels(2)])), tmp_path)


def test_the_budget_stops_cleanly_and_a_larger_one_goes_on(tmp_path):
    def run(tokens):
        engine = Player(actor=[dialogue("So?")], evaluator=[levels(2)], prices=(1000.0, 1000.0))
        short = Sampling(max_tokens=10)
        options = settings(engine, dialogues=20, budget=Budget(tokens=tokens), writing=short, judging=short)
        return synthesize(options, tmp_path), len(engine.asked)

    report, calls = run(5000)
    assert "the budget is spent" in report.stopped
    assert 0 < report.tokens == 110 * calls <= 5000
    assert report.unmet
    assert "stopped early: the budget is spent" in (tmp_path / "card.md").read_text()
    report, more = run(100_000)
    assert (report.unmet, report.stopped, calls + more) == ({}, "", 60)
    assert (report.tokens, round(report.cost, 6)) == (6600, 6.6)


def test_a_passing_fault_is_tried_again_a_lasting_one_leaves_the_dialogue_for_later(tmp_path):
    engine = Player(actor=[BusyError("429"), dialogue("So?")], evaluator=[levels(2)])
    assert synthesize(settings(engine), tmp_path / "a").unmet == {}
    assert log(tmp_path / "a", "call")[0]["tries"] == 2
    engine = Player(actor=[BusyError("429"), BusyError("429"), dialogue("So?")], evaluator=[levels(2)])
    report = synthesize(settings(engine), tmp_path / "b")
    assert (report.unmet, report.stopped) == ({"explorations/2/reflexion": 1}, "1 unanswered, left for another start")
    assert report.failed == {"explorations/2/reflexion": 0}
    assert synthesize(settings(Player(actor=[dialogue("So?")], evaluator=[levels(2)])), tmp_path / "b").unmet == {}


def test_a_lost_server_ends_the_run_and_the_next_start_goes_on(tmp_path):
    answers = [dialogue("So?")] * 5 + [BusyError("connection refused")]
    engine = Player(actor=answers, evaluator=[levels(2)])
    report = synthesize(settings(engine, dialogues=100), tmp_path)
    assert report.stopped == "the engine doesn't answer: connection refused"
    assert engine.count["actor"] < 5 + 2 * (10 + engine.concurrency)
    done = report.accepted["explorations/2/reflexion"]
    engine = Player(actor=[dialogue("So?")], evaluator=[levels(2)])
    assert synthesize(settings(engine, dialogues=100), tmp_path).unmet == {}
    assert engine.count["actor"] == 100 - done
    assert len(rows(tmp_path)) == 100


@pytest.fixture
def clinical(tmp_path):
    file = tmp_path / "clinic.jsonl"
    texts = [("MARKEDpost one", "MARKEDreply one"), ("MARKEDpost two", "MARKEDreply two")]
    pairs = [Pair(str(n), "clinical", *text, levels={"explorations": 2}) for n, text in enumerate(texts)]
    file.write_text("".join(f"{pair.to_json()}\n" for pair in pairs))
    return ExampleOptions([str(file)], "clinical", 1)


def test_clinical_rows_go_to_engines_on_this_machine_and_not_into_the_log(tmp_path, clinical):
    engine = Player(actor=[dialogue("So?")], evaluator=[levels(2)])
    synthesize(settings(engine, examples=clinical), tmp_path / "out")
    assert "MARKEDreply" in engine.said("actor")[0]
    for file in (tmp_path / "out").iterdir():
        assert b"MARKED" not in file.read_bytes()
    assert rows(tmp_path / "out", "held.jsonl")[0]["prompt_sources"] == ["clinical"]
    assert not (tmp_path / "out" / "rows.jsonl").exists()
    card = (tmp_path / "out" / "card.md").read_text()
    assert "1 with clinical rows" in card
    assert "stay in `held.jsonl` until the audit's gate lets them go" in card
    plain = ExampleOptions(clinical.files, "reddit", 1)
    with pytest.raises(UserError, match=r"examples was .*'source': 'clinical'.*'source': 'reddit'"):
        synthesize(settings(engine, examples=plain), tmp_path / "out")


@pytest.mark.parametrize("who", ["writer", "judge"])
def test_clinical_rows_are_refused_to_engines_elsewhere_before_the_first_call(tmp_path, clinical, who):
    home, away = Player(actor=[dialogue("So?")], evaluator=[levels(2)]), Player("away", away=["https://x.example/v1"])
    engines = {"writer": (away, home), "judge": (home, away)}[who]
    with pytest.raises(UserError, match=r"https://x.example/v1 is not on this machine: nothing was sent"):
        synthesize(settings(engines[0], judge=engines[1], examples=clinical), tmp_path / "out")
    assert home.asked == away.asked == []


def test_too_few_examples(tmp_path, clinical):
    with pytest.raises(UserError, match=r"fewer than 1 pairs of explorations, level 1 \(weak\)"):
        synthesize(settings(Player(), level=1, examples=clinical), tmp_path / "out")
    engine = Player(actor=[dialogue("So?")], evaluator=[levels(2)])
    options = settings(engine, examples=clinical)
    options.targets.levels, options.targets.quotas = [1, 2], {"explorations/1/reflexion": 0}  # none of it is wanted
    assert synthesize(options, tmp_path / "out").unmet == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluator": "none"}, "evaluator none and the method reflexion"),
        ({"evaluator": "model"}, "evaluator model and scorer"),
        ({"scorer": {"class_path": "synthesis_players.Judge"}}, "evaluator llm and scorer"),
        ({"method": MethodOptions(max_trials=0)}, "max_trials is 1 or more"),
        (
            {"targets": Targets(kind="strategy"), "method": MethodOptions(rationales=True)},
            "rationales belong to levels",
        ),
    ],
)
def test_settings_that_dont_go_together(options, message):
    with pytest.raises(UserError, match=message):
        Settings(Player(), PROMPTS, **options)


def test_variety_too_small_is_found_before_the_first_call(tmp_path):
    file = tmp_path / "mine.yaml"
    text = Path(PROMPTS).read_text()
    head, tail = text.split("variety:")
    names = [line.strip(" :") for line in tail.splitlines() if line.startswith("  ") and line.endswith(":")]
    file.write_text(f"{head}variety:\n" + "".join(f"  {name}: [one]\n" for name in names))
    engine = Player()
    with pytest.raises(UserError, match="may need 4 different scenarios, the variety lists allow 1"):
        synthesize(Settings(engine, str(file), settings(engine).targets), tmp_path / "out")
    assert engine.asked == []


def test_an_interrupt_lets_calls_finish_and_keeps_them(tmp_path):
    code = (
        "import sys; from synthesis.command import main; sys.exit(main(['--config', 'configs/synthesis/scripted.yaml', "
        f"'--output', {str(tmp_path)!r}, '--engine.init_args.delay', '0.02']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    log_file = tmp_path / "attempts.jsonl"
    while not log_file.exists() or log_file.read_bytes().count(b"\n") < 60:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"stopped early: stopped by a signal" in err
    assert b"unmet: explorations/2/standalone" in out
    ended = [end for end in log(tmp_path, "dialogue") if end["accepted"]]
    assert len(rows(tmp_path)) == len(ended) > 0
