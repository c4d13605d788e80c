import asyncio
import json

import pytest
from pairwise_studies import make_study, write_rows

from errors import UserError
from experiments.pairwise.command import main
from experiments.pairwise.draw import System, draw_study
from experiments.pairwise.judge import Judge, judge_study, messages, read_verdict
from experiments.pairwise.study import Study, Task, open_key
from synthesis.engines import BusyError, Engine, RejectedError, Reply, Usage


class TaggedWins(Engine):
    """Prefers the tagged system's reply; busy at first, and rejects what it is told to."""

    name = "a model/1.5"
    concurrency = 3

    def __init__(self, rejects: str = "nothing", remote: bool = False) -> None:
        self.rejects, self.remote, self.asked = rejects, remote, 0

    def identity(self):
        return {"engine": "tagged-wins"}

    def outside(self):
        return ["http://elsewhere.example"] if self.remote else []

    async def complete(self, request):
        self.asked += 1
        prompt = request.messages[-1]["content"]
        if self.asked == 1:
            raise BusyError("later", retry_after=0.0)
        if self.rejects in prompt:
            raise RejectedError("filtered")
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
        ("Reply 1 is better", None),
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


def test_answers_without_a_verdict_are_counted_and_asked_again(tmp_path, capsys):
    study, _ = make_study(tmp_path, contexts=3)
    config = write_config(tmp_path / "judge.yaml", rejects="worry 1")
    assert main(["judge", str(tmp_path / "study"), "--engine", config, "--name", "m"]) == 0
    assert "2 answers held no verdict" in capsys.readouterr().err
    assert len(study.ratings("judges")[0].given) == 4
    config = write_config(tmp_path / "judge.yaml")
    assert main(["judge", str(tmp_path / "study"), "--engine", config, "--name", "m"]) == 0
    assert "2 of 2 answers" in capsys.readouterr().err
    assert len(study.ratings("judges")[0].given) == 6


def test_clinical_contexts_do_not_leave_the_machine(tmp_path):
    row = {"id": "d", "source": "clinical", "turns": [{"speaker": "seeker", "text": "worry"}]}
    files = [
        System(n, write_rows(tmp_path / f"{n}.jsonl", [{"id": "d:1", "response": n}])) for n in ("plain", "tagged")
    ]
    draw_study(files, write_rows(tmp_path / "c.jsonl", [row]), tmp_path / "study")
    with pytest.raises(UserError, match="clinical"):
        main(["judge", str(tmp_path / "study"), "--engine", write_config(tmp_path / "j.yaml", remote=True)])
    assert not (tmp_path / "study/judges").exists()


@pytest.mark.parametrize("text", ["engine: {class_path: no.such.Engine}", "sampling: {}", "engine: [", "other: 1"])
def test_configs_that_name_no_engine(tmp_path, text):
    make_study(tmp_path, contexts=1)
    (tmp_path / "j.yaml").write_text(text)
    with pytest.raises(UserError, match=r"j\.yaml"):
        main(["judge", str(tmp_path / "study"), "--engine", str(tmp_path / "j.yaml")])


def test_an_engine_that_fails_stops_the_rest_and_keeps_what_is_there(tmp_path):
    study, _ = make_study(tmp_path, contexts=4)
    asked, closed = [], []

    async def complete(prompt):
        asked.append(prompt)
        await asyncio.sleep(0.001)
        if len(asked) == 3:
            raise UserError("no credit left")
        return "Verdict: 1"

    async def close():
        closed.append(True)

    judge = Judge("m", complete, {}, 1, close)
    with pytest.raises(UserError, match="no credit left"):
        asyncio.run(judge_study(study, judge, lambda done, total: None))
    assert len(Study(tmp_path / "study").ratings("judges")[0].given) == 2
    assert len(asked) < 5
    assert closed == [True]
