"""Two processes over gloo give the scores of one, to the last digit. Run as a script, this file is one of the two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from metrics.levels import LevelScores
from metrics.rationales import RationaleScores

ROOT = Path(__file__).parents[1]
COUNT = 71  # three published batches, the last one smaller

SHARDS = {
    "interleaved": (range(0, COUNT, 2), range(1, COUNT, 2)),
    "uneven": ([70, 3, *range(10, 60)], [*range(3), *range(4, 10), *range(60, 70)]),
    "second process without rows": (range(COUNT), ()),
    "first process without rows": ((), range(COUNT)),
    "rows repeated by a padded sampler": (range(0, COUNT, 2), [*range(1, COUNT, 2), 0]),
}


def all_rows():
    """Rows of 10 tokens of 1 or 2 characters, 6 words, one response in five not annotated."""
    random = torch.Generator().manual_seed(7)

    def draw(high, *shape):
        return torch.randint(high, shape, generator=random)

    ends = (draw(2, COUNT, 10) + 1).cumsum(1)
    starts = torch.nn.functional.pad(ends, (1, 0))[:, :-1]
    words = torch.tensor([(0, 2), (3, 5), (6, 9), (10, 11), (12, 16), (17, 20)]).expand(COUNT, 6, 2)
    gold = draw(5, COUNT).clamp(max=3) - 1
    rationales = {
        "predicted": draw(2, COUNT, 10).bool(),
        "gold_tokens": draw(2, COUNT, 10),
        "response_lengths": draw(10, COUNT) + 1,
        "offsets": torch.stack((starts, ends), dim=-1),
        "words": words,
        "gold_words": draw(2, COUNT, 6),
        "scored": gold > 0,
        "annotated": gold >= 0,
    }
    levels = {"predicted": draw(3, COUNT), "gold": gold}
    return levels, rationales, {"rows": torch.arange(COUNT), "groups": draw(30, COUNT)}


def scores_of(shard):
    """All that two metrics say of the rows of a shard, as text that holds every digit."""
    levels, rationales, names = all_rows()
    level_scores, rationale_scores = LevelScores(), RationaleScores()

    def update(rows):
        index = torch.tensor(list(rows), dtype=torch.int64)
        level, rationale, name = ({key: v[index] for key, v in part.items()} for part in (levels, rationales, names))
        level_scores.update(**level, **name)
        rationale_scores.update(**rationale, **name, window=12)

    def said():
        computed = {**level_scores.compute(), **rationale_scores.compute()}
        tables = [*level_scores.table(), *rationale_scores.table()]
        return {key: float(score).hex() for key, score in computed.items()}, [t.tobytes().hex() for t in tables]

    shard = list(shard)
    for start in range(0, len(shard) // 2, 8):
        update(shard[start : min(start + 8, len(shard) // 2)])
    half = said()
    update(shard[len(shard) // 2 :])
    return [*half, *said()]


def main(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    answers = {name: scores_of(shards[rank]) for name, shards in SHARDS.items()}
    answers["no rows at all"] = scores_of(())
    Path(folder, f"{rank}.json").write_text(json.dumps(answers))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error:The ``compute`` method:UserWarning", __file__, str(rank), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", SHARDS)
def test_two_processes_score_as_one(answers, name):
    *_, scores, tables = scores_of(range(COUNT))
    for answer in answers:
        assert answer[name][2] == scores
        assert answer[name][3] == tables


@pytest.mark.parametrize("name", SHARDS)
def test_scores_asked_for_in_between_are_right_too(answers, name):
    halves = [row for shard in SHARDS[name] for row in list(shard)[: len(shard) // 2]]
    *_, scores, tables = scores_of(sorted(set(halves)))
    for answer in answers:
        assert answer[name][:2] == [scores, tables]


def test_no_process_has_rows(answers):
    assert answers[0]["no rows at all"] == answers[1]["no rows at all"] == scores_of(())
    assert set(answers[0]["no rows at all"][0].values()) == {"nan"}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
