"""Prompting a large model: study B's three conditions, over sockets, resumed, compared."""

import asyncio
import json
import random
from pathlib import Path

import pytest
import yaml
from running import ROOT, lines, run, succeed
from serving import ChatServer
from test_synthesis_serve import serving
from tiny_language_model import build_babbler

from datamodules.dialogues import STRATEGIES, Turn
from datamodules.strategies import load_scheme
from errors import DataError, UserError
from experiments.pairwise.command import main as compare
from inference.engines import load_engine
from inference.prompts import PROMPTINGS, load_prompting
from synthesis.engines import BusyError, Engine, RejectedError, Reply, Usage

PROMPTS = ROOT / "configs" / "prompting"
SCRIPTED = PROMPTS / "engine_scripted.yaml"


def said(text: str, finish: str = "stop") -> Reply:
    return Reply(text, Usage(), finish)


def test_the_prompts_written_out() -> None:
    turns = [Turn("supporter", "Hello."), Turn("seeker", "I lost $5 and my job.")]
    talk = "<conversation>\nsupporter: Hello.\nseeker: I lost $5 and my job.\n</conversation>\n\n"
    task = "Write the supporter's next message: warm, natural, two to four sentences."
    system, user = load_prompting("plain").messages(turns, None)
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == f"{talk}{task} Write the message alone, without a name before it."
    thinking = load_prompting("cot").messages(turns, None)[1]["content"]
    assert thinking.startswith(f"{talk}{task}\nFirst think step by step")
    assert 'begin a new line with "Response:" and write on it the message alone' in thinking
    guided = load_prompting("strategy").messages(turns, "Question")[1]["content"]
    assert "\nQuestion: ask for information about the problem, to help the seeker say what it is.\n" in guided
    assert "(nothing was said yet)" in load_prompting("plain").messages([], None)[1]["content"]
    assert len({load_prompting(name).hash for name in PROMPTINGS}) == 3


def test_our_prompts_know_every_label() -> None:
    assert set(load_prompting("strategy").strategies) == {*STRATEGIES, *load_scheme().categories}


@pytest.mark.parametrize(
    ("name", "answer", "text", "problem"),
    [
        ("plain", said("  That is hard. \n"), "That is hard.", ""),
        ("plain", said("Supporter: “That is hard.”"), "That is hard.", ""),
        ("plain", said("<think>He is sad.</think>\n\nThat is hard."), "That is hard.", ""),
        ("plain", said("He is sad.</think>\n\nThat is hard."), "That is hard.", ""),  # the template has the first tag
        ("plain", said("*That* is hard, and *so* is <i>this</i> **today**"), None, ""),
        ("plain", said("**Supporter:** That is *hard*."), "That is *hard*.", ""),
        ("plain", said("**That is hard.**"), "That is hard.", ""),
        ("plain", said('"Hard" is what you call it. "Hard"'), None, ""),
        ("plain", said(" \n"), "", "empty"),
        ("plain", said("That is", "length"), "", "cut off at max_tokens"),
        ("plain", said("", "refusal"), "", "refused"),
        ("plain", None, "", "rejected"),
        ("cot", said("He is sad. I could ask.\nResponse: What happened?"), "What happened?", ""),
        ("cot", said("A response: or not.\n**Response:** What happened?"), "What happened?", ""),
        ("cot", said("Hm.\n**Response: What happened?**"), "What happened?", ""),
        ("cot", said("Hm.\n**Response:**\n*What* happened?"), "*What* happened?", ""),
        ("cot", said("Response: No.\nBetter so.\nResponse:\nWhat happened?\nTell me."), "What happened?\nTell me.", ""),
        ("cot", said("<think>Response: hm</think>What happened?"), "", "no 'Response:' in it"),
        ("cot", said("He is sad.\nResponse: "), "", "empty"),
        ("plain", said("<think>The user is sad and I must hide this"), "", "thinking without an end"),
        ("cot", said("<think>I could say\nResponse: I see. No,"), "", "thinking without an end"),
    ],
)
def test_what_is_taken_from_an_answer(name: str, answer: Reply | None, text: str | None, problem: str) -> None:
    expected = answer.text if answer and text is None else text  # None: the whole answer
    assert load_prompting(name).read(answer) == (expected, problem)


def test_prompts_of_ones_own_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("system: Listen.\nuser: $conversation and $weather\nmarker: ''\n")
    with pytest.raises(DataError) as problems:
        load_prompting("cot", file)
    assert problems.value.problems == [f"{file}: 'marker' is not a text, or empty"]
    file.write_text("system: Listen.\nuser: $conversation and $weather\nmarker: 'Say:'\n")
    with pytest.raises(DataError) as problems:
        load_prompting("cot", file)
    assert problems.value.problems == [
        f"{file}: 'user' has no $marker",
        f"{file}: 'user' has $weather, which nothing fills",
    ]
    file.write_text("system: Listen.\nuser: $conversation $strategy $meaning\nstrategies: {Question: ask}\n")
    with pytest.raises(DataError, match="no meaning of 'Others'"):
        load_prompting("strategy", file, ["Question", "Others"])
    file.write_text("system: Listen.\nuser: It costs $ 5, $conversation\n")
    with pytest.raises(DataError, match=r"write \$\$"):
        load_prompting("plain", file)
    with pytest.raises(UserError, match="need system, user and nothing else"):
        load_prompting("plain", PROMPTS / "cot.yaml")
    with pytest.raises(UserError, match=r"nowhere\.yaml' can't be read"):
        load_prompting("plain", tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_says_how_it_is_run_and_loads(path: Path) -> None:
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(line.startswith("# Run:   python cli.py respond") for line in header)
    assert any(line.startswith("# Result:") for line in header)
    if path.stem in PROMPTINGS:
        assert load_prompting(path.stem, path).hash == load_prompting(path.stem).hash
    else:
        asked = load_engine(path)
        assert {"temperature", "top_p", "max_tokens"} == asked.sampling.keys()
        asyncio.run(asked.engine.close())


def talks(folder: Path, count: int = 20) -> Path:
    """Dialogues in which seeker and supporter speak twice."""
    rows = []
    for number in range(count):
        texts = (f"My week {number} was bad.", "How so?", f"I failed {number} exams.", "I am sorry.")
        turns = [{"speaker": ("seeker", "supporter")[place % 2], "text": text} for place, text in enumerate(texts)]
        rows.append({"id": f"d{number}", "turns": turns})
    file = folder / "talks.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


class Model(ChatServer):
    """Answers with thinking and a response; every so often with neither, or not at all."""

    def __init__(self) -> None:
        super().__init__(self.say)
        self.fails_after = 10**9
        self.unparsed = lambda body: False

    def say(self, body: dict) -> str | None:
        if len(self.got) > self.fails_after:
            return None
        number = random.Random(str(body["messages"])).randint(0, 10**6)
        return "No." if self.unparsed(body) else f"Let me think about it.\nResponse: I hear you, {number}."


@pytest.fixture
def model():
    with Model() as server:
        yield server


def engine_config(folder: Path, port: int, name: str = "m", **options: object) -> Path:
    arguments = {"model": name, "base_urls": [f"http://127.0.0.1:{port}/v1"], "concurrency": 4, **options}
    content = {"engine": {"class_path": "synthesis.openai_engine.OpenAIEngine", "init_args": arguments}}
    file = folder / "engine.yaml"
    file.write_text(yaml.safe_dump({**content, "sampling": {"max_tokens": 60}}), encoding="utf-8")
    return file


def test_thinking_is_cut_and_what_cannot_be_read_is_asked_for_again_then_failed(model: Model, tmp_path: Path) -> None:
    def unparsed(body: dict) -> bool:  # of the last seeker turn 7 never, of 3 once
        text = body["messages"][1]["content"]
        again = sum(text == one["messages"][1]["content"] for one in model.got) > 1
        return "failed 7 exams" in text or ("failed 3 exams" in text and not again)

    model.unparsed = unparsed
    command = ["respond", talks(tmp_path), "--engine", engine_config(tmp_path, model.server_port), "--prompting", "cot"]
    ran = succeed(*command, "--output", tmp_path / "cot.jsonl")
    rows = lines(tmp_path / "cot.jsonl")
    expected = [f"d{number}:{turn}" for number in range(20) for turn in (1, 3) if (number, turn) != (7, 3)]
    assert [row["id"] for row in rows] == expected
    assert all(row["response"].startswith("I hear you, ") for row in rows)
    assert all(row["strategy"] is None and row["probabilities"] is None for row in rows)
    assert lines(tmp_path / "cot.failed.jsonl") == [{"id": "d7:3", "problem": "no 'Response:' in it"}]
    assert "1 of 40 turns got no response and have no row" in ran.err
    assert len(model.got) == 40 + 1 + 2
    assert len({body["seed"] for body in model.got}) == 43
    logged = lines(tmp_path / "cot.answers.jsonl")
    assert {entry["prompts"] for entry in logged} == {load_prompting("cot").hash}
    assert all(entry["answer"] and entry["prompt_tokens"] == 50 for entry in logged)

    before = (tmp_path / "cot.jsonl").read_bytes()
    assert "0 answers asked for" in succeed(*command, "--output", tmp_path / "cot.jsonl").err
    assert (tmp_path / "cot.jsonl").read_bytes() == before
    assert len(model.got) == 43
    succeed(*command, "--output", tmp_path / "cot.jsonl", "--seed", 1)
    assert len(model.got) == 43 + 42  # "3 exams" was asked for before


def test_a_call_that_is_cut_off_goes_on_without_paying_twice(model: Model, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    command = [
        "respond",
        talks(tmp_path),
        "--engine",
        engine_config(tmp_path, model.server_port),
        "--prompting",
        "plain",
    ]
    succeed(*command, "--output", whole)
    model.got.clear()
    model.fails_after = 17
    ran = run(*command, "--output", output)
    assert (ran.status, output.exists()) == (2, False)
    assert "refuses the request: 401" in ran.err
    answered = {entry["seed"] for entry in lines(tmp_path / "out.answers.jsonl")}
    assert 10 < len(answered) <= 17
    with (tmp_path / "out.answers.jsonl").open("a") as file:
        file.write('{"half')
    model.got.clear()
    model.fails_after = 10**9
    succeed(*command, "--output", output)
    asked = {body["seed"] for body in model.got}  # requests that were given up may reach the server late
    assert (len(asked), asked & answered) == (40 - len(answered), set())
    assert output.read_bytes() == whole.read_bytes()
    (tmp_path / "out.answers.jsonl").write_text("something else\n")
    assert "no log of answers" in run(*command, "--output", output).err


class Refusing(Engine):
    """Elsewhere, by an author who forgot what is clinical; rejects everything."""

    name, concurrency = "refusing", 2

    def identity(self) -> dict:
        return {"engine": "refusing"}

    def outside(self) -> list[str]:
        return ["https://elsewhere.example"]

    async def complete(self, request):
        raise RejectedError("filtered")


def named(folder: Path, class_path: str, **content: object) -> Path:
    file = folder / "named.yaml"
    file.write_text(json.dumps({"engine": {"class_path": class_path}, **content}))
    return file


def test_clinical_rows_stay_here_unless_said_otherwise(tmp_path: Path) -> None:
    config = named(tmp_path, f"{__name__}.Refusing")
    command = [
        "respond",
        talks(tmp_path, 2),
        "--engine",
        config,
        "--prompting",
        "plain",
        "--output",
        tmp_path / "o.jsonl",
    ]
    assert "rows of a clinical source" in run(*command).err
    assert lines(tmp_path / "o.answers.jsonl") == []
    succeed(*command, "--source", "synthetic")
    assert lines(tmp_path / "o.jsonl") == []
    assert {entry["problem"] for entry in lines(tmp_path / "o.failed.jsonl")} == {"rejected"}


@pytest.mark.parametrize(
    "said", [{"source": "clinical"}, {"source": "Clinical "}, {"prompt_sources": ["clinical"]}], ids=str
)
def test_a_row_that_says_it_is_clinical_stays_here(tmp_path: Path, said: dict[str, object]) -> None:
    row = {"id": "a", "turns": [{"speaker": "seeker", "text": "Low."}, {"speaker": "supporter", "text": "Oh."}], **said}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    options = ["--engine", named(tmp_path, f"{__name__}.Refusing"), "--prompting", "plain", "--source", "synthetic"]
    ran = run("respond", tmp_path / "own.jsonl", *options, "--output", tmp_path / "o.jsonl")
    assert (ran.status, "rows of a clinical source" in ran.err) == (2, True)


def test_an_engine_that_stays_busy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = load_engine(named(tmp_path, f"{__name__}.Refusing"))

    async def busy(request: object) -> Reply:
        raise BusyError("too many", retry_after=0.0)

    monkeypatch.setattr(asked.engine, "complete", busy)
    monkeypatch.setattr("synthesis.limits.Retry.pause", lambda *_: 0.0)
    with pytest.raises(UserError, match=r"doesn't answer: too many; what was answered so far is kept"):
        asyncio.run(asked.engine.ask([], asked.sampling, role="responder"))


def test_half_a_character_in_an_answer_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = load_engine(named(tmp_path, f"{__name__}.Refusing"))

    async def broken(request: object) -> Reply:
        return said("Hm \ud83d")

    monkeypatch.setattr(asked.engine, "complete", broken)
    answer = asyncio.run(asked.engine.ask([], asked.sampling, role="responder"))
    assert answer.text == "Hm \ufffd"


def test_the_file_that_is_read_is_never_the_output(tmp_path: Path) -> None:
    dialogues = talks(tmp_path, 1)
    before = dialogues.read_bytes()
    ran = run("respond", dialogues, "--engine", SCRIPTED, "--prompting", "plain", "--output", dialogues)
    assert (ran.status, ran.err) == (2, f"error: --output {dialogues} is the file that is read; name another\n")
    assert dialogues.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"class_path": "pathlib.Path"}, "pathlib.Path is no engine"),
        ({"class_path": "no.such.Engine"}, "no engine can be made of it: No module named 'no'"),
        ({"class_path": "synthesis.scripted.ScriptedEngine", "init_args": {"hit": 1}}, "hit"),
        ({"class_path": "synthesis.scripted.ScriptedEngine", "hits": 1}, "engine has hits besides"),
        (None, "no engine can be made of it"),
    ],
)
def test_configs_that_name_no_engine(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "e.yaml").write_text(json.dumps({"engine": content}))
    with pytest.raises(UserError, match=message):
        load_engine(tmp_path / "e.yaml")


def test_samplings_are_checked_before_anything_is_asked(tmp_path: Path) -> None:
    for sampling in ({"temperature": -1}, {"top_p": 0}, {"max_tokens": 0}, {"top_k": 3}):
        with pytest.raises(UserError, match=next(iter(sampling))):
            load_engine(named(tmp_path, "synthesis.scripted.ScriptedEngine", sampling=sampling))


def test_the_classifiers_strategy_is_in_the_prompt_and_everything_feeds_compare(
    talkers: dict[str, Path], tmp_path: Path
) -> None:
    dialogues = talks(tmp_path)
    for prompting in PROMPTINGS:
        extra = ["--classifier", talkers["classifier"]] if prompting == "strategy" else []
        output = tmp_path / f"{prompting}.jsonl"
        succeed("respond", dialogues, "--engine", SCRIPTED, "--prompting", prompting, *extra, "--output", output)
    guided = lines(tmp_path / "strategy.jsonl")
    assert [row["id"] for row in guided] == [f"d{number}:{turn}" for number in range(20) for turn in (1, 3)]
    for row in guided:
        assert row["strategy"] == max(row["probabilities"], key=row["probabilities"].get)
    honest = [
        row for row in guided if row["response"].startswith(f"This is what I would call {row['strategy'].lower()}.")
    ]
    assert len(honest) >= 35  # the engine fails now and then, on purpose
    assert not any("Someone should listen first" in row["response"] for row in lines(tmp_path / "cot.jsonl"))
    files = [str(tmp_path / f"{name}.jsonl") for name in PROMPTINGS]
    study = ["--contexts", str(dialogues), "--count", "12", "--output", str(tmp_path / "study")]
    assert compare(["export", *files, *study]) == 0
    assert len(lines(tmp_path / "study" / "tasks.jsonl")) == 36


def test_what_the_classifier_did_not_read_is_counted(talkers: dict[str, Path], tmp_path: Path) -> None:
    turns = [{"speaker": "seeker", "text": "I feel low. " * 2000}]
    (tmp_path / "long.jsonl").write_text(json.dumps({"id": "long", "turns": turns}) + "\n")
    options = ["--turns", "next", "--classifier", talkers["classifier"], "--output", tmp_path / "out.jsonl"]
    large = ["--engine", SCRIPTED, "--prompting", "strategy"]
    assert (
        "1 contexts are longer than the classifier's window"
        in succeed("respond", tmp_path / "long.jsonl", *large, *options).err
    )
    own = ["--checkpoint", talkers["tagged"], "--policy", "classifier"]
    said = succeed("respond", tmp_path / "long.jsonl", *own, *options).err
    assert "1 contexts are longer than the responder's window" in said
    assert "1 contexts are longer than the classifier's window" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name either a trained responder (--checkpoint) or an engine (--engine)"),
        (["--checkpoint", "r", "--engine", "e"], "name either"),
        (["--checkpoint", "r", "--prompting", "cot"], "--prompting goes with --engine"),
        (["--checkpoint", "r", "--tries", "2", "--source", "esconv"], "--tries goes with --engine; --source goes with"),
        (["--engine", "e", "--prompting", "cot", "--batch_size", "2"], "--batch_size goes with --checkpoint"),
        (["--checkpoint", "r", "--batch_size", "0"], "--batch_size 0: at least 1"),
        (["--engine", "e", "--prompting", "cot", "--tries", "0"], "--tries 0: at least 1"),
        (["--engine", "e"], "--engine needs --prompting plain, cot or strategy"),
        (["--engine", "e", "--prompting", "strategy"], "--prompting strategy needs a classifier: name its run with"),
        (["--engine", "e", "--prompting", "cot", "--classifier", "c"], "--prompting cot uses no classifier: leave"),
        (["--engine", "e", "--prompting", "cot", "--policy", "none"], "--policy goes with --checkpoint"),
        (["--engine", "e.yaml", "--prompting", "cot"], "e.yaml: no engine can be made of it: [Errno 2]"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str, tmp_path: Path) -> None:
    ran = run("respond", talks(tmp_path, 1), *options, "--output", tmp_path / "o.jsonl")
    assert ran.status == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.slow
def test_against_transformers_serve(tmp_path: Path) -> None:
    babbler = str(build_babbler(tmp_path / "babbler"))
    with serving(babbler) as (_, port):
        config = engine_config(tmp_path, port, babbler)
        output = tmp_path / "plain.jsonl"
        command = ["respond", talks(tmp_path, 6), "--engine", config, "--prompting", "plain", "--output", output]
        succeed(*command, "--tries", 5)
        again = succeed(*command, "--tries", 5)
    assert "0 answers asked for" in again.err
    failed = tmp_path / "plain.failed.jsonl"
    rows = lines(output)
    assert len(rows) + (len(lines(failed)) if failed.exists() else 0) == 12
    assert rows
    assert all(row["response"].strip() for row in rows)
