import asyncio
import hashlib
import json
from collections import Counter

import pytest
from pairwise_studies import make_study, write_rows
from running import ROOT, lines, run, succeed

from errors import UserError
from experiments.pairwise.command import main
from experiments.pairwise.judge import messages, read_verdict
from experiments.pairwise.study import Task, open_key
from synthesis.engines import BusyError, Engine, RejectedError, Reply, Usage


class TaggedWins(Engine):
    """Prefers the tagged system's reply; busy at first, rejects what it is told to, and is vague a few times."""

    name = "a model/1.5"
    concurrency = 3

    def __init__(
        self, rejects: str = "nothing", remote: bool = False, vague: int = 0, vague_about: str = "worry", fails: int = 0
    ) -> None:
        self.rejects, self.remote, self.vague, self.vague_about, self.fails = rejects, remote, vague, vague_about, fails
        self.asked, self.times, self.closed = 0, Counter(), 0
        TaggedWins.latest = self

    def identity(self):
        return {"engine": "tagged-wins"}

    def outside(self):
        return ["http://elsewhere.example"] if self.remote else []

    async def close(self):
        self.closed += 1

    async def complete(self, request):
        self.asked += 1
        prompt = request.messages[-1]["content"]
        if self.asked == 1:
            raise BusyError("later", retry_after=0.0)
        if self.rejects in prompt:
            raise RejectedError("filtered")
        await asyncio.sleep(0.001)
        if 0 < self.fails <= self.asked:
            raise UserError("no credit left")
        self.times[prompt] += 1
        if self.vague_about in prompt and self.times[prompt] <= self.vague:
            return Reply("Both are kind in their own way.", Usage())
        first = prompt.index("tagged answers") < prompt.index("plain answers")
        return Reply(f"Reason.\n**Verdict:** {1 if first else 2}", Usage())


def write_config(path, **init_args):
    path.write_text(json.dumps({"engine": {"class_path": f"{__name__}.TaggedWins", "init_args": init_args}}))
    return str(path)


def test_the_prompt_written_out():
    task = Task("t", [{"speaker": "seeker", "text": "I am tired"}], "Rest.", "Why?")
    system, user = messages(task, "second", "Which is better?")
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].startswith(
        "<conversation>\nseeker: I am tired\n</conversation>\n\n<reply_1>\nWhy?\n</reply_1>\n\n"
        "<reply_2>\nRest.\n</reply_2>\n\nWhich is better?\n"
    )


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("Both kind.\nVerdict: 1", "second"),
        ("verdict - 2.", "first"),
        ("**Verdict:** 0", "tie"),
        ("Verdict: 1? No.\nVERDICT: 2", "first"),
        ("Verdict: 10", None),
        ('Then write "Verdict: 1", "Verdict: 2", or "Verdict: 0" if there is no difference.', None),
        ("Verdict: 1 seems right at first, but", None),
        ("Reply 1 is better", None),
        ("<think>Verdict: 1?</think>Verdict: 2", "first"),
        ("<think>At first sight verdict: 1, but", None),
        ("", None),
    ],
)
def test_verdicts(answer, choice):
    assert read_verdict(answer, "second") == choice


def test_both_orders_are_judged_once(tmp_path, capsys):
    study, _ = make_study(tmp_path, contexts=3)
    config = write_config(tmp_path / "judge.yaml")
    assert main(["judge", str(tmp_path / "study"), "--engine", config]) == 0
    assert "6 of 6 answers" in capsys.readouterr().err
    (ratings,) = study.ratings("judges")
    assert ratings.path.name == "00-a-model-1-5.jsonl"
    key = open_key(study)
    assert {key.tasks[task][one.choice] for (task, _), one in ratings.given.items()} == {"tagged"}
    assert sorted(left for _, left in ratings.given) == ["first"] * 3 + ["second"] * 3
    assert {one.answer for one in ratings.given.values()} == {"Reason.\n**Verdict:** 1", "Reason.\n**Verdict:** 2"}
    assert main(["judge", str(tmp_path / "study"), "--engine", config]) == 0
    assert capsys.readouterr().err == ""  # nothing left to ask
    other = write_config(tmp_path / "other.yaml", rejects="worry 1")
    (tmp_path / "study/judges/00-a-model-1-5.json").write_text("{}")
    with pytest.raises(UserError, match="choose another with --name"):
        main(["judge", str(tmp_path / "study"), "--engine", other])


def test_an_answer_without_a_verdict_is_asked_for_again_with_another_seed(tmp_path, capsys):
    study, _ = make_study(tmp_path, contexts=3)
    config = write_config(tmp_path / "judge.yaml", vague=2)
    assert main(["judge", str(tmp_path / "study"), "--engine", config, "--name", "m"]) == 0
    assert capsys.readouterr().err == "6 of 6 answers\n"
    assert len(study.ratings("judges")[0].given) == 6
    logged = lines(tmp_path / "study/judges/00-m.answers.jsonl")
    assert len({entry["seed"] for entry in logged}) == 18
    assert Counter(entry["attempt"] for entry in logged) == {0: 6, 1: 6, 2: 6}
    assert logged[0]["answer"] == "Both are kind in their own way."


def test_what_got_no_verdict_is_counted_kept_and_not_paid_for_twice(tmp_path, capsys):
    study, _ = make_study(tmp_path, contexts=3)
    log = tmp_path / "study/judges/00-m.answers.jsonl"
    config = write_config(tmp_path / "judge.yaml", vague=99, vague_about="worry 1", rejects="worry 2")
    command = ["judge", str(tmp_path / "study"), "--engine", config, "--name", "m"]
    kept = "(2 no verdict in it, 2 rejected) and are not judged; every answer is in"
    assert main(command) == 0
    assert f"note: 4 of 6 questions got no verdict {kept} {log}" in capsys.readouterr().err
    assert (len(study.ratings("judges")[0].given), len(lines(log))) == (2, 2 + 2 * 3 + 2)
    assert main(command) == 0
    assert f"note: 4 of 4 questions got no verdict {kept} {log}" in capsys.readouterr().err
    assert len(lines(log)) == 10
    assert main([*command, "--tries", "4"]) == 0
    assert len(lines(log)) == 12


@pytest.mark.parametrize(
    ("source", "shown"), [("synthetic", "; one begins 'Both are kind in their own way.'"), ("clinical", "")]
)
def test_a_judge_without_any_verdict_is_an_error(tmp_path, source, shown):
    make_study(tmp_path, contexts=2, source=source)
    study, config = tmp_path / "study", write_config(tmp_path / "judge.yaml", vague=99)
    for _ in range(2):
        ran = run("compare", "judge", study, "--engine", config, "--name", "m", "--tries", 2)
        assert ran.status == 2
        told = ran.err.splitlines()[-1]
        assert told.startswith(
            f"error: no answer of 'm' held a verdict, such as \"Verdict: 1\" (4 no verdict in it){shown}; every answer "
            f"is in {study}/judges/00-m.answers.jsonl. "
        )
    assert len(lines(study / "judges/00-m.answers.jsonl")) == 8


def test_the_judge_can_be_tried_without_a_model(tmp_path):
    contexts = write_rows(tmp_path / "c.jsonl", [{"id": f"d{n}", "seeker_post": f"worry {n}"} for n in range(30)])
    files = [
        write_rows(tmp_path / f"{name}.jsonl", [{"id": f"d{n}", "response": text} for n in range(30)])
        for name, text in (("short", "I see."), ("long", "That sounds hard; what happened?"))
    ]
    succeed("compare", "export", *files, "--contexts", contexts, "--output", tmp_path / "study")
    scripted = ROOT / "configs/prompting/engine_scripted.yaml"
    succeed("compare", "judge", tmp_path / "study", "--engine", scripted)
    succeed("compare", "score", tmp_path / "study", "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["judge/scripted/short_vs_long/loss"]["value"] == 1
    assert scores["judge/scripted/short_vs_long/loss"]["n"] >= 28  # the engine fails now and then, on purpose


def one_context(folder, *options, **cells):
    """The study of one context with these cells, as `export` draws it with these options."""
    row = {"id": "d", "turns": [{"speaker": "seeker", "text": "worry"}], **cells}
    answers = [
        write_rows(folder / f"{n}.jsonl", [{"id": "d:1", "response": f"{n} answers"}]) for n in ("plain", "tagged")
    ]
    contexts = write_rows(folder / "c.jsonl", [row])
    succeed("compare", "export", *answers, "--contexts", contexts, "--output", folder / "study", *options)
    return folder / "study"


def is_judged_elsewhere(study):
    """Whether an engine on another machine gets to see the study."""
    ran = run("compare", "judge", study, "--engine", write_config(study.parent / "j.yaml", remote=True))
    refused = ran.status == 2 and "error: the prompts hold rows of a clinical source" in ran.err
    assert refused == (not (study / "judges").exists())
    assert refused or ran.status == 0, ran.err
    return not refused


@pytest.mark.parametrize(
    ("cells", "options", "leaves"),
    [
        ({}, [], False),
        ({"source": None}, [], False),
        ({"source": "our clinic"}, [], False),
        ({"source": "clinical"}, [], False),
        ({"source": "clinical"}, ["--source", "synthetic"], False),
        ({"source": "synthetic", "prompt_sources": ["clinical"]}, [], False),
        ({"source": "synthetic", "prompt_sources": ["reddit"]}, [], True),
        ({"source": "reddit"}, [], True),
        ({}, ["--source", "reddit"], True),
    ],
)
def test_contexts_without_a_source_are_clinical_and_do_not_leave_the_machine(tmp_path, cells, options, leaves):
    study = one_context(tmp_path, *options, **cells)
    assert is_judged_elsewhere(study) == leaves


@pytest.mark.parametrize("source", [{"source": ""}, {}])
def test_a_study_whose_tasks_say_no_source_is_clinical(tmp_path, source):
    study = one_context(tmp_path, "--source", "esconv")
    (task,) = lines(study / "tasks.jsonl")
    del task["source"]
    write_rows(study / "tasks.jsonl", [task | source])
    head = json.loads((study / "study.json").read_text())
    head["tasks_sha256"] = hashlib.sha256((study / "tasks.jsonl").read_bytes()).hexdigest()
    (study / "study.json").write_text(json.dumps(head))
    assert not is_judged_elsewhere(study)


@pytest.mark.parametrize("text", ["engine: {class_path: no.such.Engine}", "sampling: {}", "engine: [", "other: 1"])
def test_configs_that_name_no_engine(tmp_path, text):
    make_study(tmp_path, contexts=1)
    (tmp_path / "j.yaml").write_text(text)
    with pytest.raises(UserError, match=r"j\.yaml"):
        main(["judge", str(tmp_path / "study"), "--engine", str(tmp_path / "j.yaml")])


def test_an_engine_that_fails_stops_the_rest_and_keeps_what_is_there(tmp_path):
    study, _ = make_study(tmp_path, contexts=10)
    config = write_config(tmp_path / "judge.yaml", fails=4)
    ran = run("compare", "judge", tmp_path / "study", "--engine", config, "--name", "m")
    assert (ran.status, ran.err.splitlines()[-1]) == (2, "error: no credit left")
    assert len(study.ratings("judges")[0].given) == 2  # the first request was put off
    assert len(lines(tmp_path / "study/judges/00-m.answers.jsonl")) == 2
    assert TaggedWins.latest.asked < 10
    assert TaggedWins.latest.closed == 1
