"""A grid as a SLURM job array, against an `sbatch` and an `srun` of a few lines; the plain sbatch file."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from running import ROOT, run, scores, succeed
from tiny_grid import tiny_grid

SBATCH = """#!/bin/bash
# Runs the tasks of the array after it has answered, as SLURM does; one after the other.
script="${@: -1}"
cp "$script" "$FAKE_SLURM/submitted.sh"
echo "Submitted batch job 77"
[[ "$FAKE_SLURM_RUNS" ]] || exit 0
export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
export SLURM_JOB_NODELIST=here
(
  for task in 0 1; do
    SLURM_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task bash "$FAKE_SLURM/submitted.sh" > "$FAKE_SLURM/task$task.log" 2>&1
  done
  touch "$FAKE_SLURM/finished"
) > /dev/null 2>&1 &
"""
SRUN = """#!/bin/bash
while [[ "$1" == -* ]]; do
  if [[ "$1" == "--output" || "$1" == "--error" ]]; then shift; fi
  shift
done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (place / name).write_text(text, encoding="utf-8")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(place))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return place


def test_an_array_of_jobs_is_submitted(slurm: Path, tmp_path: Path, encoder: str, reddit: Path) -> None:
    file = tiny_grid(tmp_path, encoder, reddit)
    options = ["--launcher", "slurm", "--jobs", 2, "--partition", "gpu", "--minutes", 30, "--cpus", 3, "--gpus", 1]
    ran = succeed("experiment", file, "--output", tmp_path / "out", *options)
    submitted = (slurm / "submitted.sh").read_text(encoding="utf-8")
    for line in (
        "--array=0-1%2", "--partition=gpu", "--time=30", "--cpus-per-task=3", "--gpus-per-node=1", "--requeue",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in submitted, submitted
    assert "2 jobs submitted, the first is 77_0" in ran.out


@pytest.mark.slow
def test_jobs_share_the_grid(
    slurm: Path, tmp_path: Path, encoder: str, reddit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SLURM_RUNS", "1")
    options = ["--launcher", "slurm", "--jobs", 2]
    succeed("experiment", tiny_grid(tmp_path, encoder, reddit), "--output", tmp_path / "out", *options)
    until = time.monotonic() + 240
    while not (slurm / "finished").exists() and time.monotonic() < until:
        time.sleep(0.2)
    logs = "".join(path.read_text(encoding="utf-8") for path in slurm.glob("*.log"))
    results = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8").splitlines()
    assert len(results) == 5, logs


def test_without_slurm_it_says_so(tmp_path: Path, encoder: str, reddit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ran = run("experiment", tiny_grid(tmp_path, encoder, reddit), "--output", tmp_path / "out", "--launcher", "slurm")
    assert ran.status == 2
    assert "there is no `srun` here" in ran.err


def test_a_report_of_jobs_that_end_later_is_refused(tmp_path: Path, encoder: str, reddit: Path) -> None:
    words = ["--output", tmp_path / "out", "--launcher", "slurm", "--report"]
    ran = run("experiment", tiny_grid(tmp_path, encoder, reddit), *words)
    assert ran.status == 2
    assert f"then `python cli.py report {tmp_path}/out --output {tmp_path}/out/report`" in ran.err


@pytest.mark.slow
def test_the_plain_file_trains(slurm: Path, tmp_path: Path, encoder: str, reddit: Path) -> None:
    """As bash runs it, with an `srun` of one task."""
    script = ROOT / "configs" / "cluster" / "fit.sbatch"
    text = script.read_text(encoding="utf-8")
    assert "# Run:   sbatch configs/cluster/fit.sbatch --config" in text
    small = [
        "--model.encoder",
        encoder,
        "--data.max_tokens",
        "32",
        "--data.reddit",
        str(reddit),
        "--runs",
        str(tmp_path),
    ]
    environment = {**os.environ, "SLURM_JOB_ID": "5", "SLURM_NNODES": "1", "RUN": "mine"}
    own = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.precision", "32-true"]
    own += ["--data.num_workers", "0", "--trainer.max_steps", "2"]
    words = ["bash", str(script), *own, "--config", "configs/empathy.yaml", *small]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "mine")
    settings = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["trainer"]["precision"] == "32-true", "options go over the overlay"
    assert settings["data"]["init_args"]["num_workers"] == 0
    assert settings["data"]["init_args"]["evaluation_batch_size"] == 256, "the overlay goes over the config"
