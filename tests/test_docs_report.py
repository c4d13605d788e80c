"""The commands of docs/report.md."""

import shlex

from documented import ROOT, commands
from run_folders import make_experiment, make_run
from running import succeed


def test_the_commands_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_experiment(tmp_path / "runs" / "augmentation", counts=(0, 30), mechanisms=("explorations",))
    for name, skill, dropout in (("base", 0.5, 0.1), ("other", 0.7, 0.3)):
        for seed in (12, 13):
            make_run(tmp_path / "runs" / f"{name}-{seed}", seed=seed, skill=skill, dropout=dropout)
    lines = commands(ROOT / "docs" / "report.md")
    assert len(lines) == 3
    for line in lines:
        succeed(*shlex.split(line)[2:])
    assert "Does dropout help?" in (tmp_path / "comparison" / "report.md").read_text()
    assert (tmp_path / "card" / "model_card.md").is_file()
