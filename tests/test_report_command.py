"""The report of run folders, from the command to its files."""

import itertools
import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard
from run_folders import MECHANISM, RESPONSE, make_experiment, make_run, make_strategy_run
from running import run, succeed

from datamodules.strategies import load_scheme
from experiments.report.runs import read_all
from experiments.sweep_file import Sweep


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """An experiment over two mechanisms, five doses and two seeds, in which synthetic rows help up to 60 rows."""
    return make_experiment(tmp_path_factory.mktemp("study") / "augmentation", gain=0.12, rows=400)


@pytest.fixture(scope="module")
def reported(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    ran = succeed("report", study, "--output", out, "--resamples", 500)
    return ran, out


def test_a_report_is_a_page_its_markdown_and_its_figures(reported):
    ran, out = reported
    assert ran.out.splitlines()[-1] == str(out / "report.html")
    figures = {path.name for path in (out / "figures").iterdir()}
    stems = ("augment", "augment-learning", "augment-confusion", "augment-calibration")
    assert figures == {f"1-augmentation-{stem}.{suffix}" for stem in stems for suffix in ("svg", "png")}
    linked = re.findall(r"\]\((figures/.*?)\)", (out / "report.md").read_text())
    assert linked
    assert all((out / name).is_file() for name in linked)
    assert all((out / "figures" / name).read_bytes()[:4] == b"\x89PNG" for name in figures if name.endswith("png"))


def test_the_page_needs_nothing_else_and_names_no_place(reported, study):
    page = (reported[1] / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert str(study.parent) not in page
    assert "/models/" not in page
    assert "/data/" not in page


def test_the_page_opens_with_the_answer(reported):
    ran, out = reported
    text = (out / "report.md").read_text()
    assert text.index("## The answer") < text.index("!["), "figures come after the answer"
    assert "synthetic rows are shown to be better in 7 of 8 comparisons with base data alone" in ran.out
    assert "trained anew" not in ran.out, "every condition has several seeds"
    assert re.search(r"explorations, gpt3: macro-F1 0\.\d+, 0\.\d+ with 120 rows; difference \+0\.\d+ \(", ran.out)
    assert re.search(r"The gain slows down after 60 rows \(\d+ rows to \d+ rows\)", ran.out)


def test_every_page_says_that_no_clinical_row_tested(reported, tmp_path):
    warning = "No clinical table was given: the tests are on the held-out Reddit split, not on clinical conversations."
    for name in ("report.html", "report.md"):
        assert warning.replace("_", r"\_") in (reported[1] / name).read_text()
    assert warning in reported[0].out
    folder = make_run(tmp_path / "clinical-12", source="clinical")
    succeed("report", folder, "--output", tmp_path / "out", "--model_card", folder, "--resamples", 100)
    for path in (tmp_path / "out").glob("*.*"):
        assert "No clinical table" not in path.read_text()


def test_a_clinical_table_that_does_not_test_is_not_denied(tmp_path):
    folder = make_run(tmp_path / "mixed-12")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"]["init_args"]["clinical"] = "/data/clinical.jsonl"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    ran = succeed("report", folder, "--output", tmp_path / "out", "--resamples", 100)
    told = "The clinical table that was given doesn't test: the tests are on the held-out Reddit split, not on clinical"
    assert told in ran.out


def test_failed_points_are_named(reported):
    assert "Points without a result: explorations-150-12 (out of memory)." in (reported[1] / "report.html").read_text()


def test_published_numbers_stand_beside_ours_and_say_that_they_do_not_compare(reported):
    text = (reported[1] / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| explorations, macro-F1, 0 rows"))
    published, ours, verdict = [cell.strip() for cell in row.split("|")[2:5]]
    assert published == "0.48"
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", ours)
    assert verdict == "not comparable: ours test on reddit"
    assert "as published" in text


def test_the_same_folders_give_the_same_files(reported, study, tmp_path):
    succeed("report", study, "--output", tmp_path, "--resamples", 500)
    for path in reported[1].rglob("*.*"):
        assert (tmp_path / path.relative_to(reported[1])).read_bytes() == path.read_bytes(), path.name


def test_rows_of_a_clinical_source_are_never_quoted(tmp_path):
    secret = "The ward's door was painted green."
    folder = make_run(tmp_path / "clinical-12", source="clinical")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    for row in rows:  # as --allow_clinical_text leaves them
        row |= {"seeker_post": secret, "response_post": secret}
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    succeed("report", folder, "--output", tmp_path / "out", "--model_card", folder, "--resamples", 100)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert not any(b"painted" in path.read_bytes() for path in written)


def test_rationales_are_shown_and_marked(tmp_path):
    folder = make_run(tmp_path / "plain-12", skill=1.0)
    succeed("report", folder, "--output", tmp_path / "out", "--resamples", 100)
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        page.count('<mark class="gold">I am with you.</mark> <mark class="said">What would help tonight?</mark>') == 3
    )
    succeed("report", folder, "--output", tmp_path / "none", "--resamples", 100, "--examples", 0)
    assert RESPONSE.split(".")[0] not in (tmp_path / "none" / "report.html").read_text()


def test_markup_in_a_response_stays_text(tmp_path):
    text = "<img src=x onerror=alert(1)> | *a*"
    folder = make_run(tmp_path / "plain-12", text=text)
    succeed("report", folder, "--output", tmp_path / "out", "--resamples", 100)
    assert "<img src=x" not in (tmp_path / "out" / "report.html").read_text()
    assert r"\<img src=x onerror=alert(1)\> \| \*a\*" in (tmp_path / "out" / "report.md").read_text()


def test_unlike_protocols_never_share_a_table(tmp_path):
    folders = [
        make_run(tmp_path / "one-12"),
        make_run(tmp_path / "two-12", split_hash="ddddeeeeffff", dropout=0.3),
        make_run(tmp_path / "three-12", variant="another way of counting", dropout=0.5),
    ]
    succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "What differs: test set: aaaabbbbcccc / ddddeeeeffff; metric variant:" in text
    assert "/ another way of counting." in text
    tables = re.findall(r"### Explorations \(test set \w+\)\n\n(.*?)\n\n", text, re.DOTALL)
    assert len(tables) == 3
    for table, own in zip(tables, ("one", "two", "three"), strict=True):
        assert [name for name in ("one", "two", "three") if f"| {name} |" in table] == [own]


def test_settings_are_compared_with_the_first_over_their_seeds(tmp_path):
    folders = [make_run(tmp_path / f"base-{seed}", seed=seed, skill=0.3) for seed in (1, 2, 3)]
    folders += [make_run(tmp_path / f"better-{seed}", seed=seed, skill=0.9, dropout=0.2) for seed in (1, 2)]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    assert "other settings are shown to be better in 1 of 1 comparison with base" in ran.out
    assert ": better, from the 2 seeds that both have." in ran.out


def regroup(folder, size):
    """Makes every `size` rows of the predictions one group."""
    file = folder / "predictions.jsonl"
    rows = [json.loads(line) | {"group": number // size} for number, line in enumerate(file.open())]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("make", "option"), [(make_run, "dropout"), (make_strategy_run, "max_turns")])
def test_one_group_of_rows_shows_no_difference(tmp_path, make, option):
    folders = [make(tmp_path / f"base-{seed}", seed=seed, skill=0.2) for seed in (1, 2)]
    folders += [make(tmp_path / f"more-{seed}", seed=seed, skill=0.9, **{option: 5}) for seed in (1, 2)]
    for folder in folders:
        regroup(folder, 120)
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 200)
    assert not re.search("shown|better|worse|McNemar", ran.out)
    assert "; more: macro-F1 " in ran.out
    assert "Not compared with base: more (fewer than two groups of test rows)." in ran.out
    base, more = (next(row for row in rows_of(tmp_path / "out") if row[:2] == [name, "2"]) for name in ("base", "more"))
    assert all(re.fullmatch(r"0\.\d{3}", row[place]) for row in (base, more) for place in (2, 5))
    assert [len(scored(more[place])) for place in (3, 6)] == [1, 1]
    assert (more[4], more[7]) == ("–", "–")


def test_doses_tested_on_one_group_have_no_verdict(tmp_path):
    folder = make_experiment(tmp_path / "study", mechanisms=(MECHANISM,), seeds=(12,), gain=0.2)
    for run_folder in (folder / "runs").iterdir():
        regroup(run_folder, 120)
    ran = succeed("report", folder, "--output", tmp_path / "out", "--resamples", 100)
    assert "Synthetic rows added to all of Reddit: no differences.\n" in ran.out
    assert "gpt3, 120 rows (fewer than two groups of test rows)." in ran.out
    [trend] = [row for row in rows_of(tmp_path / "out") if row[0] == "explorations, gpt3"]
    assert trend[2:] == ["–", "–", "–", "fewer than two groups of test rows: not asked"]


@pytest.mark.parametrize("unlike", ["groups", "rationale rows"])
def test_unlike_groups_and_rationale_rows_stand_apart(tmp_path, unlike):
    both = ("emotional_reactions", MECHANISM)
    folders = [make_run(tmp_path / f"{name}-12", dropout=n / 10, mechanisms=both) for n, name in enumerate("abc")]
    for folder in folders[1:]:
        metrics = json.loads((folder / "metrics.json").read_text())
        if unlike == "groups":
            regroup(folder, 4)
        else:
            metrics["test/explorations/rationale_f1"]["n"] = 2
            (folder / "metrics.json").write_text(json.dumps(metrics))
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    text = (tmp_path / "out" / "report.md").read_text()
    told = {"groups": r"groups: 60/\w{6} / 30/\w{6}", "rationale rows": r"rationale rows: \d\d / 2"}[unlike]
    assert re.search(rf"What differs: {told}\.", text)
    tables = re.findall(rf"### Explorations \(test set \w+, {unlike} \S+\)\n\n(.*?)\n\n", text, re.DOTALL)
    assert [re.findall(r"^\| ([abc]) \|", table, re.MULTILINE) for table in tables] == [["a"], ["b", "c"]]
    assert ran.out.count(", c: macro-F1") == 2, "b and c, or of the other mechanism a and c"


def test_settings_without_a_common_seed_are_all_named(tmp_path):
    folders = [make_run(tmp_path / "base-12", seed=12), make_run(tmp_path / "other-13", seed=13, dropout=0.2)]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    score = r"macro-F1 explorations 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)"
    assert re.search(rf"base: {score}; other: {score}\.\n", ran.out)
    assert "Not compared with base: other (no seed in common)." in ran.out
    assert "Differences are from" not in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("skill", "names"), [(0.7, ["0.1", "0.2"]), (0.4, ["0.1", "0.2", "0.1'"])])
def test_a_setting_drawn_twice_is_told_once(tmp_path, skill, names):
    folders = [make_run(tmp_path / "001", dropout=0.1), make_run(tmp_path / "002", dropout=0.2, skill=0.9)]
    folders.append(make_run(tmp_path / "003", dropout=0.1, skill=skill))
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    table = (tmp_path / "out" / "report.md").read_text().split("### Explorations\n")[1].split("###")[0]
    assert sorted(re.findall(r"^\| dropout (\S+) \|", table, re.MULTILINE)) == sorted(names)
    assert f" {len(names) - 1} comparison" in ran.out


def rows_of(folder):
    """All rows of all tables of the page."""
    lines = (folder / "report.md").read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]


def scored(text):
    """Value, low and high of a cell."""
    return [float(number.replace("−", "-")) for number in re.findall(r"[+−]?\d+\.\d+", text)]


def test_rationale_scores_are_drawn_over_rows_and_seeds_and_compared(tmp_path):
    folders = [make_run(tmp_path / f"base-{seed}", seed=seed, found=0.3) for seed in (1, 2)]
    folders += [make_run(tmp_path / f"better-{seed}", seed=seed, found=0.9, dropout=0.2) for seed in (1, 2)]
    succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    text = (tmp_path / "out" / "report.md").read_text()
    table = text.split("### Explorations: rationales", 1)[1].split("###")[0]
    lines = {line.split("|")[1].strip(): line.split("|") for line in table.splitlines() if line.startswith("| ")}
    base, better = lines["base"], lines["better"]
    recorded = [json.loads((run / "metrics.json").read_text())["test/explorations/rationale_f1"] for run in folders]
    for cells, (one, other) in ((base, recorded[:2]), (better, recorded[2:])):
        value, low, high = scored(cells[3])
        assert value == pytest.approx((one["value"] + other["value"]) / 2, abs=0.0006)
        assert high - low > 0.8 * (one["high"] - one["low"]), "as wide as rows alone make it, though seeds agree"
        assert 0 <= low < value < high <= 1
    difference, low, high = scored(better[4])
    assert difference == pytest.approx(scored(better[3])[0] - scored(base[3])[0], abs=0.0011)
    assert 0 < low < difference < high
    assert float(better[5]) == pytest.approx(2 / 501, abs=0.0006)
    assert "| explorations | rationale IOU-F1 |" in text.split("### What this test set can show")[1]


def test_scores_that_cannot_be_drawn_vary_with_rows_and_seeds(tmp_path):
    folders = [make_run(tmp_path / f"base-{seed}", seed=seed, source="clinical") for seed in (1, 2)]
    for folder, value in zip(folders, (0.50, 0.54), strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["test/explorations/rationale_f1"] |= {"value": value, "low": value - 0.1, "high": value + 0.1}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    succeed("report", *folders, "--output", tmp_path / "two", "--resamples", 100)
    # 1.96 * sqrt((.1 / 1.96) ** 2 + .0008 / 2) = .107
    assert next(row for row in rows_of(tmp_path / "two") if row[2] == "0.520 (0.413 to 0.627)")[:2] == ["base", "2"]
    succeed("report", folders[0], "--output", tmp_path / "one", "--resamples", 100)
    assert "0.500 (0.400 to 0.600)" in (tmp_path / "one" / "report.md").read_text()


def test_strategy_classifiers_are_compared_row_by_row(tmp_path):
    folders = [make_strategy_run(tmp_path / f"base-{seed}", seed=seed, skill=0.4) for seed in (1, 2)]
    folders += [make_strategy_run(tmp_path / f"more-{seed}", seed=seed, skill=0.8, max_turns=5) for seed in (1, 2)]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    assert "other settings are shown to be better in 1 of 1 comparison with base (macro-F1" in ran.out
    rows = rows_of(tmp_path / "out")
    values = [json.loads((folder / "metrics.json").read_text())["test/accuracy"]["value"] for folder in folders]
    base, more = (next(row for row in rows if row[0] == name and "difference" not in row) for name in ("base", "more"))
    assert scored(base[2])[0] == pytest.approx(sum(values[:2]) / 2, abs=0.0006)
    difference, low, high = scored(more[3])
    assert difference == pytest.approx((sum(values[2:]) - sum(values[:2])) / 2, abs=0.0006)
    assert 0 < low < difference < high < 1
    assert float(more[4]) == pytest.approx(2 / 501, abs=0.0006)
    assert ["study B, as published", "", "0.45", *["–"] * 5] in rows
    # seed 1: a row is right where a uniform draw is below .4 or .8; draws of one seed are the same
    matched = next(row for row in rows if row[:2] == ["strategy, more", "1"])
    assert matched[2:4] == [str(round(120 * (values[2] - values[0]))), "0"]
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    kinds = ("learning", "confusion", "calibration")
    assert figures == {f"1-runs-conditions-{kind}.{suffix}" for kind in kinds for suffix in ("svg", "png")}


@pytest.mark.parametrize("options", [{"target": "given"}, {"label_space": "strategies"}, {"scheme": "/data/own.yaml"}])
def test_study_b_stands_beside_its_own_task_alone(tmp_path, options):
    succeed("report", make_strategy_run(tmp_path / "other", **options), "--output", tmp_path / "out")
    assert "study B" not in (tmp_path / "out" / "report.md").read_text()


def test_rows_whose_label_is_not_known_are_not_counted_anew(tmp_path):
    folder = make_strategy_run(tmp_path / "random", overlap="random")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    rows[0]["gold"] = ["Action", "Others"]  # as runs left it that didn't record the row's own label
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = json.loads((folder / "metrics.json").read_text())["test/accuracy"]
    succeed("report", folder, "--output", tmp_path / "out")
    told = f"{own['value']:.3f} ({own['low']:.3f} to {own['high']:.3f})"
    assert any(row[2] == told for row in rows_of(tmp_path / "out") if row[0] == "random")


def test_models_that_predict_alike_say_nothing_of_power(tmp_path):
    folders = [make_run(tmp_path / "one-12"), make_run(tmp_path / "two-12", dropout=0.2)]
    succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    assert ["explorations", "macro-F1", "120", "1", "–", "–"] in rows_of(tmp_path / "out")


def test_a_sweep_shows_what_its_points_stand_for(tmp_path):
    """Two mechanisms by two rates: a base for each mechanism, rows named by what was swept, the table asked for."""
    folder, drawn, lines = tmp_path / "sweep", [], ["point,model.mechanisms,model.dropout,seed\n"]
    for number, (mechanism, dropout) in enumerate(itertools.product((MECHANISM, "interpretations"), (0.1, 0.2)), 1):
        run_folder = make_run(folder / "runs" / f"{number:03d}", mechanisms=(mechanism,), dropout=dropout)
        metrics = json.loads((run_folder / "metrics.json").read_text())
        metrics["test/level_f1_macro"] = metrics[f"test/{mechanism}/level_f1_macro"] | {"low": None, "high": None}
        (run_folder / "metrics.json").write_text(json.dumps(metrics))
        drawn.append({"model.mechanisms": mechanism, "model.dropout": dropout})
        lines.append(f"{number:03d},{mechanism},{dropout},12\n")
    (folder / "results.csv").write_text("".join(lines))
    sweep = Sweep("rates", "grid", ["base.yaml"], {}, [], "test/level_f1_macro", "maximize", None, drawn)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(sweep.to_dict()))
    succeed("report", folder, "--output", tmp_path / "out", "--resamples", 100)
    text, rows = (tmp_path / "out" / "report.md").read_text(), rows_of(tmp_path / "out")
    names = [row[0] for row in rows]
    assert names.count("dropout 0.1") == names.count("dropout 0.2") == 4, "two tables of each mechanism"
    assert "001" not in text.split("## Tables that")[0]
    assert text.count("Differences are from dropout 0.1.") == 4
    asked = text.split("### Sweep rates (grid)", 1)[1]
    assert "| 004: model.mechanisms interpretations, model.dropout 0.2 | 1 |" in asked
    assert "Mean over: interpretations." in asked


def test_what_rests_on_one_seed_says_so(tmp_path):
    folders = [make_run(tmp_path / f"base-{seed}", seed=seed, skill=0.3) for seed in (1, 2)]
    folders.append(make_run(tmp_path / "add-1", seed=1, skill=0.9, added=60))
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    assert "1 of these rest on one training seed each: trained anew, they may come out otherwise." in ran.out


def test_a_dose_that_shares_no_seed_with_the_base_is_not_compared(tmp_path):
    folders = [
        make_run(tmp_path / "base", seed=12, skill=0.3),
        make_run(tmp_path / "best", seed=13, skill=0.9, added=30),
        make_run(tmp_path / "more", seed=12, skill=0.5, added=60),
    ]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    assert "1 comparison with base data alone" in ran.out
    assert re.search(r"with 60 rows; difference \+0\.\d+", ran.out)
    assert "highest with" not in ran.out


def test_a_series_finds_its_base_among_loose_runs(tmp_path):
    folders = [make_run(tmp_path / f"base-{seed}", seed=seed, skill=0.3) for seed in (1, 2)]
    folders += [make_run(tmp_path / f"add-{seed}", seed=seed, skill=0.9, added=60) for seed in (1, 2)]
    folders += [make_run(tmp_path / f"swap-{seed}", seed=seed, skill=0.9, share=0.5) for seed in (1, 2)]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 500)
    assert "Synthetic rows added: synthetic rows are shown to be better in 1 of 1" in ran.out
    assert re.search(r"with 60 rows; difference \+0\.\d+ .*: better\.", ran.out)
    assert "Rows replaced by synthetic ones: synthetic rows are shown to be better in 1 of 1" in ran.out
    assert re.search(r"with 50 %; difference \+0\.\d+", ran.out)


def test_without_a_base_the_lowest_dose_is_one(tmp_path):
    folders = [make_run(tmp_path / f"add-{count}", added=count) for count in (30, 60)]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    assert "no effect of larger doses is shown in 1 comparison with the lowest dose" in ran.out
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| gpt3, 30 rows |" in text
    assert "base data alone" not in text


def test_more_rows_of_one_source_are_larger_doses(tmp_path):
    folder = make_experiment(tmp_path / "ratio", counts=(30, 60), mechanisms=(MECHANISM,), gain=0.3)
    for file in folder.glob("runs/*/config.yaml"):
        config = yaml.safe_load(file.read_text())
        config["data"]["init_args"]["mix"] |= {"mode": "ratio", "weights": {"synthetic": 1.0}}
        file.write_text(yaml.safe_dump(config))
    ran = succeed("report", folder, "--output", tmp_path / "out", "--resamples", 500)
    assert "larger doses are shown to be better in 1 of 1 comparison with the lowest dose" in ran.out


def test_a_tie_is_not_the_highest(tmp_path):
    skills = {0: 1.0, 30: 1.0, 60: 0.2}
    folders = [make_run(tmp_path / f"add-{count}", added=count, skill=skill) for count, skill in skills.items()]
    ran = succeed("report", *folders, "--output", tmp_path / "out", "--resamples", 100)
    assert "with 60 rows; difference −" in ran.out
    assert "highest with" not in ran.out


def test_one_dose_claims_nothing(tmp_path):
    ran = succeed("report", make_run(tmp_path / "add", added=30), "--output", tmp_path / "out", "--resamples", 100)
    assert "there is nothing to compare with" in ran.out
    assert "shown" not in ran.out


def test_a_model_card_is_what_the_hub_reads(tmp_path):
    folder = make_run(tmp_path / "joint-12", mechanisms=("emotional_reactions", MECHANISM))
    ran = succeed("report", "--model_card", folder, "--output", tmp_path / "out")
    assert ran.out.splitlines() == [str(tmp_path / "out" / "model_card.md")]
    card = ModelCard.load(tmp_path / "out" / "model_card.md")
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.license == "other"
    found = {(result.dataset_name, result.metric_name) for result in card.data.eval_results}
    assert ("explorations, reddit (test set aaaabbbbcccc)", "macro-F1") in found
    assert len(found) == 4
    metrics = json.loads((folder / "metrics.json").read_text())
    value = metrics["test/explorations/level_accuracy"]["value"]
    assert re.search(rf"\| explorations \| accuracy \| {value:.3f} \([^|]*\) \| 120 \| 0.250 \|", card.text)
    scored_rows = metrics["test/explorations/rationale_f1"]["n"]
    assert re.search(rf"\| explorations \| rationale F1 \| [^|]* \| {scored_rows} \|", card.text)
    assert "EmpathyScorer.load" not in card.text, "the run kept no checkpoint"
    assert "2 seeds" not in card.text
    for heading in ("What it is for", "What it learned from", "How well it does", "Limits", "How it was made"):
        assert f"## {heading}" in card.text


@pytest.mark.parametrize("kept", [True, False])
def test_a_model_card_loads_a_checkpoint_where_there_is_one(tmp_path, kept):
    folder = make_run(tmp_path / "run-12")
    if kept:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    succeed("report", "--model_card", folder, "--output", tmp_path / "out")
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert ('EmpathyScorer.load("run-12")' in card) == kept
    assert ("The run kept no checkpoint" in card) != kept


def test_a_real_run_has_all_that_a_report_reads(trained, tmp_path):
    """What `fit` writes and what these folders imitate are the same."""
    ran = succeed("report", trained.folder, "--output", tmp_path, "--model_card", trained.folder, "--resamples", 100)
    text = (tmp_path / "report.md").read_text()
    for title in ("Learning curves", "Confusion matrices", "Calibration", "Rationales"):
        assert f"### {title}" in text
    assert "tiny: macro-F1 emotional reactions 0." in ran.out
    [experiment] = read_all([trained.folder])
    [made] = experiment.runs
    levels = made.predicted(MECHANISM)
    assert (len(levels.names), made.tested_on, made.seed) == (16, "reddit", 12)
    for key, samples in levels.draw(100).items():
        assert samples[0] == pytest.approx(made.value(f"test/{MECHANISM}/{key}"), abs=1e-12, nan_ok=True)
    rows = [json.loads(line) for line in (trained.folder / "predictions.jsonl").read_text().splitlines()]
    posts = {row["seeker_post"] for row in rows}
    assert len({row["group"] for row in rows}) <= len(posts), "rows of one seeker post are one group"
    assert len(set(levels.groups.tolist())) == len({row["group"] for row in rows})


def test_every_problem_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    unfinished = make_run(tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    damaged = make_run(tmp_path / "damaged")
    (damaged / "manifest.json").write_text("{")
    hollow = make_run(tmp_path / "hollow")
    (hollow / "config.yaml").write_text("")
    grid = make_experiment(tmp_path / "grid", counts=(0,), seeds=(12,), mechanisms=(MECHANISM,))
    (grid / "experiment.yaml").write_text("")
    ran = run("report", tmp_path / "empty", unfinished, damaged, hollow, grid, "--output", tmp_path / "out")
    assert ran.status == 2
    parts = ("empty: neither a run's folder", "unfinished: the run has no metrics.json", "damaged: not readable")
    for part in (*parts, "hollow: not readable", "grid: not readable as an experiment (experiment.yaml holds no grid"):
        assert part in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", [(), ("deeper",)])
def test_an_output_that_is_a_file_is_refused(tmp_path, below):
    (tmp_path / "taken").write_text("")
    ran = run("report", make_run(tmp_path / "one-12"), "--output", tmp_path.joinpath("taken", *below))
    assert ran.status == 2
    assert f"{tmp_path / 'taken'} is a file; name a folder" in ran.err


def test_predictions_that_are_not_those_of_the_scores_are_refused(tmp_path):
    folders = [make_run(tmp_path / "one-12"), make_run(tmp_path / "two-12", dropout=0.3)]
    lines = (folders[1] / "predictions.jsonl").read_text().splitlines(keepends=True)
    (folders[1] / "predictions.jsonl").write_text("".join(lines[1:]))
    ran = run("report", *folders, "--output", tmp_path / "out")
    assert ran.status == 2
    assert "predictions.jsonl hold unlike rows; predict again" in ran.err


def test_predictions_that_were_cut_off_are_named_with_their_line(tmp_path):
    folder = make_run(tmp_path / "cut-12")
    file = folder / "predictions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:40])
    ran = run("report", folder, "--output", tmp_path / "out")
    assert ran.status == 2
    assert f"{file}, line 4: not whole; predict again" in ran.err


def test_two_unlike_runs_of_one_place_are_refused(tmp_path):
    folders = [make_run(tmp_path / name, added=30, skill=skill) for name, skill in (("a-12", 0.5), ("b-12", 0.9))]
    ran = run("report", *folders, "--output", tmp_path / "out")
    assert ran.status == 2
    assert "both are explorations, gpt3, dose 30, seed 12, with unlike numbers" in ran.err


def test_a_run_folder_that_is_gone_is_named_with_the_way_out(tmp_path):
    folder = make_experiment(tmp_path / "study", counts=(0, 60), mechanisms=(MECHANISM,))
    shutil.rmtree(folder / "runs" / f"{MECHANISM}-60-13")
    ran = run("report", folder, "--output", tmp_path / "out")
    assert ran.status == 2
    assert f"{MECHANISM}-60-13 of results.csv can't be found in" in ran.err
    assert "the same experiment command runs again what is missing" in ran.err


def test_an_experiment_under_way_is_reported_as_far_as_it_is(study, tmp_path):
    part = shutil.copytree(study, tmp_path / "part")
    lines = (part / "results.csv").read_text().splitlines(keepends=True)
    (part / "results.csv").write_text("".join(lines[:5]))
    assert run("report", part, "--output", tmp_path / "out", "--resamples", 100).status == 0
    (part / "results.csv").write_text(lines[0])
    ran = run("report", part, "--output", tmp_path / "none")
    assert ran.status == 2
    assert "no point is finished" in ran.err


def test_the_folder_of_a_sweep_is_reported(tmp_path):
    folder = make_experiment(tmp_path / "sweep", counts=(0, 60), mechanisms=(MECHANISM,), gain=0.2)
    sweep = Sweep("counts", "grid", ["base.yaml"], {}, [], "test/level_f1_macro", "maximize", None)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(sweep.to_dict()))
    ran = succeed("report", folder, "--output", tmp_path / "out", "--resamples", 500)
    assert "synthetic rows are shown to be better in 1 of 1 comparison with base data alone" in ran.out
    assert (tmp_path / "out" / "report.md").read_text().startswith("# Sweep counts (grid)\n")


def test_a_model_card_is_of_one_run(study, tmp_path):
    ran = run("report", "--model_card", study, "--output", tmp_path)
    assert ran.status == 2
    assert f"it holds 20 runs; name one of {study / 'runs'}" in ran.err


def test_study_b_stands_in_tables_of_its_own(tmp_path):
    for name, reddit, score in (("esconv", None, 10.0), ("merged", "/data/reddit", 12.5)):
        folder = make_run(tmp_path / f"{name}-12")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["model"] = {
            "class_path": "lightning_modules.responder.StrategyResponder",
            "init_args": {"tagged": True, "model": "small"},
        }
        config["data"]["init_args"] = {"reddit": reddit, "label_space": "categories"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        manifest = json.loads((folder / "manifest.json").read_text())
        scheme = {category: list(parts) for category, parts in load_scheme().categories.items()}
        manifest["options"] = {"label_space": "categories", "scheme": scheme}
        manifest["splits"]["train"]["sources"] = {"esconv": {}, "reddit": {}} if reddit else {"esconv": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        protocol = {"split_hash": "aa", "metric_variant": "v", "seed": 12, "checkpoint": "best"}
        entry = {"low": score - 1, "high": score + 1, "n": 9, "protocol": protocol}
        keys = {"test/perplexity": 30.0, "test/none/bleu": score, "test/classifier/bleu": score + 1}
        (folder / "metrics.json").write_text(json.dumps({key: {"value": v, **entry} for key, v in keys.items()}))
    succeed("report", tmp_path / "esconv-12", tmp_path / "merged-12", "--output", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["merged", "classifier", "1", "13.500 (11.500 to 13.500)", "0.331"] in rows
    assert ["esconv", "none", "1", "10.000 (9.000 to 11.000)", "0.293"] in rows
    assert ["merged", "1", "30.000 (11.500 to 13.500)"] in rows
    assert ["merged + tag", "ESConv", "68/32"] in rows


def test_a_planned_table_leaves_out_what_is_counted_in_unlike_ways(tmp_path):
    folder = make_experiment(tmp_path / "strategy", counts=(0,), mechanisms=(MECHANISM,))
    grid = yaml.safe_load((folder / "experiment.yaml").read_text())
    columns = ["test/accuracy", "test/log_loss"]
    grid |= {"title": "Classifiers", "report": {"kind": "table", "rows": "seed", "columns": columns, "repeat": "seed"}}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(grid))
    for seed in (12, 13):
        run_folder = folder / "runs" / f"{MECHANISM}-0-{seed}"
        config = yaml.safe_load((run_folder / "config.yaml").read_text())
        config["model"]["class_path"] = "lightning_modules.strategy.StrategyClassifier"
        (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
        protocol = {"split_hash": "aa", "seed": seed, "checkpoint": "best"}
        entry = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
        scores = {
            "test/accuracy": entry | {"protocol": protocol | {"metric_variant": "next turn"}},
            "test/log_loss": entry | {"protocol": protocol | {"metric_variant": f"base {seed}"}},
        }
        (run_folder / "metrics.json").write_text(json.dumps(scores))
    succeed("report", folder, "--output", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    table = text.split("### Classifiers", 1)[1].split("###")[0]
    assert "| 12 | 1 | 0.500 (0.400 to 0.600) |" in table
    assert "log\\_loss |" not in table
    assert "unlike ways: test/log\\_loss." in table
