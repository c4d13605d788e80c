import copy
import dataclasses
import json
import random
from collections import Counter
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny_pairs, tiny_tokenizer, write_epitome, write_jsonl

from datamodules.empathy import EmpathyDataModule, default_cache
from datamodules.mixing import MixOptions
from datamodules.pair_sources import SourceColumns
from datamodules.records import MECHANISMS, Pair
from datamodules.sources.table import Columns
from datamodules.splits import SPLITS, SplitOptions, find_leaks, hash_ids
from datamodules.tokenised import TextEncoder
from errors import DataError, UserError
from sharing import sharing

ER, IP, EX = MECHANISMS


def pairs_of(source, count=30, seed=0, **fields):
    """Tiny pairs, two to a seeker post; posts of other sources or seeds are no near-duplicates."""
    pairs = tiny_pairs(count, source, seed, **fields)
    for number, pair in enumerate(pairs):
        k = f"{source}{seed}{number // 2}"
        pair.seeker_post = f"Since week{k} my friend{k} has gone{k} and all{k} is grey{k}."
    return pairs


@pytest.fixture
def data(encoder):
    """Makes a DataModule that is set up; nothing is cached unless a folder is given."""

    def make(**options):
        module = EmpathyDataModule(encoder=encoder, **{"cache": "", "max_tokens": 32, "batch_size": 8} | options)
        module.setup()
        return module

    return make


@pytest.fixture
def table(tmp_path):
    """Writes a table of `pairs_of` a source, or of those given."""

    def write(name, source, count=30, pairs=None, **fields):
        return str(write_jsonl(tmp_path / f"{name}.jsonl", pairs or pairs_of(source, count, **fields)))

    return write


def uids(module, split):
    return [module.pairs[row].uid for row in module.rows[split]]


def splits(module):
    return {split: sorted(uids(module, split)) for split in SPLITS}


def sources(module, split):
    return Counter(module.pairs[row].source for row in module.rows[split])


def batches(loader):
    return [batch["rows"].tolist() for batch in loader]


# ---------------------------------------------------------------- splits


def test_reddit_alone_is_split_by_seeker_post(data, reddit):
    module = data(reddit=str(reddit))
    assert {split: len(rows) for split, rows in module.rows.items()} == {"train": 60, "validation": 4, "test": 16}
    assert sorted(uid for split in SPLITS for uid in uids(module, split)) == sorted(pair.uid for pair in module.pairs)
    sides = [[module.pairs[row] for row in module.rows[split]] for split in SPLITS]
    assert find_leaks(sides[0], sides[1] + sides[2]) == find_leaks(sides[1], sides[2]) == []
    groups = [set(module.group_numbers[module.rows[split]]) for split in SPLITS]
    assert not groups[0] & groups[1]
    assert not groups[2] & (groups[0] | groups[1])
    rows = module.rows
    module.setup("test")
    assert module.rows is rows  # once, whatever the stage


def test_other_shares_and_seeds(data, reddit):
    whole = data(reddit=str(reddit), split=SplitOptions(0.0, 0.0))
    assert {split: len(rows) for split, rows in whole.rows.items()} == {"train": 80, "validation": 0, "test": 0}
    nothing = data(reddit=str(reddit), split=SplitOptions(0.0, 1.0))
    assert {split: len(rows) for split, rows in nothing.rows.items()} == {"train": 0, "validation": 0, "test": 80}
    seeds = [data(reddit=str(reddit), split=SplitOptions(seed=seed)) for seed in (0, 1)]
    assert splits(seeds[0]) != splits(seeds[1])
    assert seeds[0].split_hash != seeds[1].split_hash


def test_splits_mixes_and_hashes_do_not_depend_on_the_order_of_rows_or_files(data, table, tmp_path):
    def run(seed):
        order = random.Random(seed)
        rows = [tiny_pairs(40), pairs_of("synthetic", 30), pairs_of("synthetic", 30, seed=1)]
        folder = write_epitome(tmp_path / f"reddit{seed}", order.sample(rows[0], 40))
        files = []
        for name, generated in zip(("gpt", "falcon"), rows[1:], strict=True):
            named = [dataclasses.replace(pair, generator=name) for pair in order.sample(generated, 30)]
            files.append(table(f"{seed}{name}", "synthetic", pairs=named))
        module = data(reddit=str(folder), synthetic=order.sample(files, 2), mix=MixOptions(count=6, mechanism=EX))
        batch = batches(module.train_dataloader())
        return splits(module), module.split_hash, module.manifest["splits"], module.manifest["mix"], batch

    assert run(0) == run(1) == run(2)


def test_one_mechanism_has_the_split_of_all(data, reddit):
    """So that three single-mechanism models and a joint one compare."""
    joint = data(reddit=str(reddit))
    for mechanism in MECHANISMS:
        single = data(reddit=str(reddit), mechanisms=[mechanism])
        assert splits(single) == splits(joint)
        assert single.split_hash == joint.split_hash
        assert single.levels.shape == (80, 1)
        assert single.level_counts().tolist() == [joint.level_counts()[MECHANISMS.index(mechanism)].tolist()]


def test_what_is_added_does_not_change_a_split(data, table, reddit):
    """Not even synthetic or clinical rows that are kin to rows of both sides."""
    alone = data(reddit=str(reddit))
    bridges = []
    for source, split, place in product(("synthetic", "clinical"), SPLITS, range(3)):
        like = alone.pairs[alone.rows[split][place]]
        bridges.append(Pair(f"{split}{place}", source, like.seeker_post, "Oh.", levels={ER: 0}))
    synthetic = table("s", "synthetic", pairs=[*pairs_of("synthetic", 20), *bridges[:9]])
    clinical = table("c", "clinical", pairs=[*pairs_of("clinical", 20), *bridges[9:]])
    mixed = data(reddit=str(reddit), synthetic=synthetic, clinical=clinical, leakage="drop")
    for split in SPLITS:
        assert [uid for uid in uids(mixed, split) if uid.startswith("reddit")] == uids(alone, split)
    assert mixed.split_hash == alone.split_hash
    training = [mixed.pairs[row] for row in mixed.rows["train"]]
    assert find_leaks(training, [mixed.pairs[row] for row in mixed.rows["test"] + mixed.rows["validation"]]) == []


def test_rows_of_one_own_group_stay_together(data, table):
    pairs = pairs_of("clinical", 100)
    for number, pair in enumerate(pairs):
        pair.group = f"person{number // 10}"
    module = data(clinical=table("c", "clinical", pairs=pairs), split=SplitOptions(0.1, 0.2))
    for split, people in zip(SPLITS, (7, 1, 2), strict=True):
        assert Counter(Counter(module.pairs[row].group for row in module.rows[split]).values()) == {10: people}


def test_a_row_by_row_split_has_to_be_asked_for_with_its_leaks(data, tmp_path):
    """Two responses to each seeker post."""
    more = [
        dataclasses.replace(pair, id=f"b{pair.id}", response_post=f"{pair.response_post} So.")
        for pair in tiny_pairs(60)
    ]
    folder = write_epitome(tmp_path / "reddit", tiny_pairs(60) + more)
    with pytest.raises(DataError, match=r"^leakage: \d+ pairs of a training and an evaluation row belong together"):
        data(reddit=str(folder), split=SplitOptions(by="row"))
    module = data(reddit=str(folder), split=SplitOptions(by="row"), leakage="report")
    assert {split: len(rows) for split, rows in module.rows.items()} == {"train": 90, "validation": 6, "test": 24}
    assert module.manifest["leaks"]["same seeker post"] > 0


# ---------------------------------------------------------------- which source does what


def test_with_reddit_tested_every_real_source_trains(data, table, reddit):
    module = data(reddit=str(reddit), clinical=table("c", "clinical", 40), synthetic=table("s", "synthetic", 20))
    assert module.test_on == ["reddit"]
    assert sources(module, "test") == {"reddit": 16}
    assert sources(module, "validation") == {"reddit": 4, "clinical": 2}
    assert sources(module, "train") == {"reddit": 60, "clinical": 38, "synthetic": 20}


def test_with_clinical_rows_tested_they_do_not_train(data, table, reddit):
    module = data(reddit=str(reddit), clinical=table("c", "clinical", 40), test_on="clinical")
    assert sources(module, "test") == {"clinical": 40}
    assert sources(module, "train") == {"reddit": 76}
    assert sources(module, "validation") == {"reddit": 4}


def test_both_can_be_tested(data, table, reddit):
    module = data(reddit=str(reddit), clinical=table("c", "clinical", 40), test_on=["reddit", "clinical"])
    assert sources(module, "test") == {"reddit": 16, "clinical": 40}
    assert sources(module, "train") == {"reddit": 60}


def test_clinical_rows_alone_train_and_test(data, table):
    more = [dataclasses.replace(pair, id=f"b{pair.id}") for pair in pairs_of("clinical", 40, seed=1)]
    module = data(clinical=[table("a", "clinical", 40), table("b", "clinical", pairs=more)])
    assert module.test_on == ["clinical"]
    assert {split: len(rows) for split, rows in module.rows.items()} == {"train": 60, "validation": 4, "test": 16}


def test_a_ratio_with_clinical_rows_keeps_their_test_share(data, table, reddit):
    weights = {"reddit": 1.0, "clinical": 1.0}
    options = {"reddit": str(reddit), "clinical": table("c", "clinical", 40), "test_on": "clinical"}
    module = data(mix=MixOptions("ratio", weights=weights), **options)
    assert sources(module, "test") == {"clinical": 8}
    assert sources(module, "train") == {"reddit": 30, "clinical": 30}
    without = data(mix=MixOptions("ratio", weights={"reddit": 1.0}), **options)
    assert sources(without, "test") == {"clinical": 40}
    assert sources(without, "train") == {"reddit": 76}
    idle = data(mix=MixOptions("ratio", weights={"reddit": 1.0}), **options | {"test_on": "reddit"})
    assert [sources(idle, split)["clinical"] for split in SPLITS] == [0, 0, 0]
    assert idle.manifest["dropped"] == {"clinical, without a weight and not tested": 40}


def test_synthetic_rows_train_only_unless_they_are_all_there_is(data, table, reddit):
    file = table("s", "synthetic", 40)
    alone = data(synthetic=file)
    assert {split: len(rows) for split, rows in alone.rows.items()} == {"train": 30, "validation": 2, "test": 8}
    tested = data(synthetic=file, reddit=str(reddit), test_on="synthetic")
    assert sources(tested, "test") == {"synthetic": 8}
    assert sources(tested, "train") == {"reddit": 76, "synthetic": 30}
    assert {pair.generator for pair in alone.pairs} == {"s"}


def test_sources_that_are_not_there():
    with pytest.raises(UserError, match=r"no data: give at least one of --data\.reddit"):
        EmpathyDataModule()
    with pytest.raises(UserError, match=r"--data\.test_on clinical: no clinical rows are given \(--data\.clinical\)"):
        EmpathyDataModule(reddit="folder", test_on="clinical")


@pytest.mark.parametrize("name", ["batch_size", "evaluation_batch_size"])
def test_batches_of_nothing(name):
    with pytest.raises(UserError, match=rf"--data\.{name} is 0; it is 1 or more"):
        EmpathyDataModule(reddit="folder", **{name: 0})


# ---------------------------------------------------------------- the guard


@pytest.fixture
def leaking(data, table, reddit):
    """Options with synthetic rows of which three are kin to Reddit's test rows."""
    alone = data(reddit=str(reddit))
    victims = [alone.pairs[row] for row in alone.rows["test"][:3]]
    copies = [
        dataclasses.replace(victims[0], source="synthetic", id="pair"),
        dataclasses.replace(victims[1], source="synthetic", id="post", response_post="Another reply."),
        dataclasses.replace(
            victims[2], source="synthetic", id="near", seeker_post=victims[2].seeker_post + " Yes.", response_post="Oh."
        ),
    ]
    for pair in copies:
        pair.rationales = {}
    file = table("s", "synthetic", pairs=[*pairs_of("synthetic", 10), *copies])
    return {"reddit": str(reddit), "synthetic": file}, [victim.uid for victim in victims]


def test_leaks_are_an_error_with_the_ids(data, leaking):
    options, victims = leaking
    with pytest.raises(DataError) as caught:
        data(**options)
    reasons = {"pair": "same pair", "post": "same seeker post", "near": "near-duplicate seeker post"}
    expected = {
        f"training row synthetic:s:{name} and evaluation row {victim}: {why}"
        for (name, why), victim in zip(reasons.items(), victims, strict=True)
    }
    head, *lines = caught.value.problems
    assert expected <= set(lines)
    assert head.startswith(f"leakage: {len(lines)} pairs of a training and an evaluation row belong together (--data.")


def test_leaking_rows_can_be_dropped_or_reported(data, leaking):
    options, _ = leaking
    dropping = data(**options, leakage="drop")
    assert sources(dropping, "train")["synthetic"] == 10
    assert dropping.manifest["dropped"] == {"belongs together with an evaluation row": 3}
    reporting = data(**options, leakage="report")
    assert sources(reporting, "train")["synthetic"] == 13
    assert reporting.manifest["dropped"] == {}
    for module in (dropping, reporting):
        assert {"same pair", "same seeker post", "near-duplicate seeker post"} == set(module.manifest["leaks"])


# ---------------------------------------------------------------- mixing


def test_augmented_rows_are_nested_and_evaluation_rows_untouched(data, table, reddit):
    files = [table(name, "synthetic", 60, seed=seed, generator=name) for seed, name in enumerate(("gpt", "falcon"))]
    plain = data(reddit=str(reddit))
    added = []
    for count in (0, 3, 10, 18):
        module = data(reddit=str(reddit), synthetic=files, mix=MixOptions(count=count, mechanism=EX))
        assert [uids(module, split) for split in SPLITS[1:]] == [uids(plain, split) for split in SPLITS[1:]]
        assert uids(module, "train")[:60] == uids(plain, "train")
        added.append(set(uids(module, "train")[60:]))
        assert len(added[-1]) == count
        levels = Counter(module.pairs[row].levels[EX] for row in module.rows["train"][60:])
        assert levels == +Counter({level: (count + 2 - level) // 3 for level in range(3)})
        assert module.manifest["mix"] == {
            "added": count,
            "added_ids_sha256": hash_ids(added[-1]),
            "removed": 0,
            "removed_ids_sha256": hash_ids([]),
        }
    assert added[0] < added[1] < added[2] < added[3]
    assert {uid.split(":")[1] for uid in added[3]} == {"gpt", "falcon"}


def test_substituted_rows_are_nested_and_keep_size_and_levels(data, table, reddit):
    file = table("s", "synthetic", 200)
    plain = data(reddit=str(reddit))
    gone, come = [], []
    for share in (0.1, 0.3, 0.5):
        mix = MixOptions("substitute", share=share, mechanism=IP)
        module = data(reddit=str(reddit), synthetic=file, mix=mix, leakage="drop")
        train = uids(module, "train")
        assert len(train) == 60
        assert module.level_counts()[1].tolist() == plain.level_counts()[1].tolist()
        gone.append(set(uids(plain, "train")) - set(train))
        come.append(set(train) - set(uids(plain, "train")))
        assert len(gone[-1]) == len(come[-1]) == round(share * 60)
        assert module.manifest["mix"]["removed_ids_sha256"] == hash_ids(gone[-1])
        assert splits(module)["test"] == splits(plain)["test"]
    assert gone[0] < gone[1] < gone[2]
    assert come[0] < come[1] < come[2]


def test_a_single_mechanism_is_the_mixes_too_and_options_are_not_written_into(data, table, reddit):
    mix = MixOptions("substitute", share=0.2)
    before = copy.deepcopy(mix)
    options = {"reddit": str(reddit), "synthetic": table("s", "synthetic", 80), "mix": mix}
    plain = data(reddit=str(reddit)).level_counts().tolist()
    for mechanism, counts in zip(MECHANISMS, plain, strict=True):
        module = data(**options, mechanisms=[mechanism])
        assert module.manifest["options"]["mix"]["mechanism"] == mechanism
        assert module.manifest["mix"]["added"] == 12
        assert module.level_counts().tolist() == [counts]
        assert mix == before
    with pytest.raises(UserError, match=r"--data\.mix\.mechanism is missing"):
        data(**options)


def test_a_shortage_reaches_the_user(data, table, reddit):
    with pytest.raises(UserError, match=r"--data\.mix\.count 90: 30 none rows \(level 0\) of explorations are wanted"):
        data(reddit=str(reddit), synthetic=table("s", "synthetic", 20), mix=MixOptions(count=90, mechanism=EX))


def test_a_draw_with_replacement_repeats_rows_in_training_and_in_no_prediction(data, table, reddit):
    mix = MixOptions("ratio", count=200, weights={"synthetic": 1.0}, replacement=True)
    module = data(reddit=str(reddit), synthetic=table("s", "synthetic", 20), mix=mix)
    assert len(module.rows["train"]) == 200
    assert len(set(module.rows["train"])) <= 20
    assert Counter(row for rows in batches(module.train_dataloader()) for row in rows) == Counter(module.rows["train"])
    assert module.level_counts().sum(axis=1).tolist() == [200] * 3
    assert module.manifest["splits"]["train"]["rows"] == 200


# ---------------------------------------------------------------- rows that are left out


def test_rows_without_a_level_of_a_trained_mechanism(data, table):
    pairs = pairs_of("clinical", 40)
    for number, pair in enumerate(pairs):
        pair.levels = {ER: 1} if number % 4 else ({IP: 2} if number % 8 else {})
    file = table("c", "clinical", pairs=pairs)
    joint, single = data(clinical=file), data(clinical=file, mechanisms=[ER])
    assert joint.manifest["dropped"] == {"no level of a trained mechanism": 5}
    assert single.manifest["dropped"] == {"no level of a trained mechanism": 10}
    for split in SPLITS:
        assert set(uids(single, split)) <= set(uids(joint, split))
        assert all(ER in single.pairs[row].levels for row in single.rows[split])
    assert joint.levels[joint.rows["train"]].min() == -1
    assert joint.level_counts().sum() == len(joint.rows["train"])
    with pytest.raises(DataError, match="no row has a level of explorations; nothing to train or test"):
        data(clinical=file, mechanisms=[EX])


def test_the_same_row_in_two_files_is_one_row(data, table):
    pairs = pairs_of("clinical", 30)
    module = data(clinical=[table("a", "clinical", pairs=pairs[:20]), table("b", "clinical", pairs=pairs[10:])])
    assert len(module.pairs) == 30
    assert module.manifest["dropped"] == {"the same row in another file": 10}
    assert [source["rows"] for source in module.manifest["sources"]] == [20, 20]


def test_a_file_that_is_given_twice_is_read_once_and_counted(data, table):
    file = table("a", "clinical", 20)
    alone = data(clinical=[file, file]).manifest
    assert alone["dropped"] == {"the same row in another file": 20}
    with sharing():  # then both readings are the same objects
        assert data(clinical=[file, file]).manifest == alone


def test_one_id_for_two_rows_of_two_files(data, table, reddit):
    def other(pairs):
        return [dataclasses.replace(pair, response_post=f"Or: {pair.response_post}", rationales={}) for pair in pairs]

    tables = {}
    for source in ("clinical", "synthetic"):
        pairs = pairs_of(source, 10, **{"generator": "gpt"} if source == "synthetic" else {})
        tables[source] = [table(f"{source}1", source, pairs=pairs), table(f"{source}2", source, pairs=other(pairs[4:]))]
    with pytest.raises(DataError) as caught:
        data(reddit=str(reddit), **tables)
    (one, two), (three, four) = tables["clinical"], tables["synthetic"]
    assert caught.value.problems == [
        f"{two}: 6 of its ids stand for other rows in {one}; give each row of a source its own id",
        f"{four}: 6 of its ids (as '0004') stand for other rows in {three}; give each row of a source its own id",
    ]  # an id of a clinical row is not quoted: it may be a column of text by mistake


def test_rows_that_tokenise_to_another_length_can_be_dropped_from_training(data, table):
    pairs = [Pair(f"{n:02}", "clinical", f"Post of day {n}", "🙂" * (2 + n % 2 * 8), levels={ER: 0}) for n in range(20)]
    file = table("c", "clinical", pairs=pairs)
    options = {"clinical": file, "rationale_search": "published", "split": SplitOptions(0.0, 0.2), "max_tokens": 24}
    kept, dropping = data(**options), data(**options, drop_retokenised=True)
    assert len(kept.rows["train"]) == 16
    lost = {row for row in kept.rows["train"] if len(kept.pairs[row].response_post) == 10}
    assert dropping.rows["train"] == [row for row in kept.rows["train"] if row not in lost]
    assert dropping.rows["test"] == kept.rows["test"]
    assert dropping.manifest["dropped"] == {"re-tokenises to another length": len(lost)}
    assert lost
    with pytest.raises(UserError, match=r"drop_retokenised needs --data\.rationale_search published \(it is spans\)"):
        EmpathyDataModule(clinical=file, drop_retokenised=True)


# ---------------------------------------------------------------- the manifest


def test_the_manifest_counts_everything_and_quotes_nothing(data, table, reddit):
    clinical = pairs_of("clinical", 20)
    module = data(
        reddit=str(reddit),
        clinical=table("c", "clinical", pairs=clinical),
        test_on=["reddit", "clinical"],
        max_tokens=20,
    )
    manifest = json.loads(json.dumps(module.manifest))
    assert manifest["split_hash"] == module.split_hash
    assert len(module.split_hash) == 12
    assert manifest["options"] == {
        "test_on": ["reddit", "clinical"],
        "split": {"validation": 0.05, "test": 0.2, "seed": 0, "by": "group"},
        "mix": {
            "mode": "augment", "count": None, "share": 0.0, "weights": None, "mechanism": None, "seed": 0,
            "replacement": False,
        },
        "leakage": "error",
        "max_tokens": 20,
    }  # fmt: skip
    assert [source["rows"] for source in manifest["sources"]] == [80, 20]
    for split in SPLITS:
        found = manifest["splits"][split]
        pairs = [module.pairs[row] for row in module.rows[split]]
        assert found["rows"] == len(pairs)
        assert found["ids_sha256"] == hash_ids(pair.uid for pair in pairs)
        assert set(found["sources"]) == {pair.source for pair in pairs}
        for source, entry in found["sources"].items():
            own = [pair for pair in pairs if pair.source == source]
            assert entry["rows"] == len(own)
            for mechanism in MECHANISMS:
                counts = Counter(str(pair.levels[mechanism]) for pair in own)
                assert entry["levels"][mechanism] == dict(sorted(counts.items()))
        cut = module.tokens.cut[module.rows[split]]
        assert found["cut"]["responses"] == (cut[:, 0] > 0).sum()
        assert found["cut"]["seeker_posts"] == (cut[:, 1] > 0).sum()
    assert manifest["splits"]["test"]["cut"]["seeker_posts"] > 0
    text = json.dumps(manifest)
    for pair in clinical:
        assert pair.seeker_post not in text
        assert pair.response_post not in text


def test_rationales_are_cut_when_text_of_theirs_is(data, table):
    """The window ends after "... know what"; white space at a span's end is no text."""
    text = "The doctors don't know what it is.  "
    ends = {"within": 11, "last": text.index(" it") + 1, "beyond": text.index("is.") + 2, "end": len(text)}
    pairs = [
        Pair(name, "clinical", "Nobody calls any more", text, levels={ER: 1}, rationales={ER: [(0, 3), (4, end)]})
        for name, end in ends.items()
    ]
    pairs += [Pair("short", "clinical", "Nobody calls", "So sorry.  ", levels={ER: 1}, rationales={ER: [(0, 11)]})]

    def count(window, chosen):
        file = table("c", "clinical", pairs=[pair for pair in pairs if pair.id == chosen])
        module = data(clinical=file, split=SplitOptions(0.0, 0.0), max_tokens=window)
        cut = module.manifest["splits"]["train"]["cut"]
        return cut[f"{ER}/rationales"], cut["responses"]

    [(_, offsets, _)] = TextEncoder.from_tokenizer(tiny_tokenizer(), 64).encode([text])
    window = offsets[:, 1].tolist().index(text.index(" it")) + 2  # the token that ends there, and </s>
    found = {name: count(window, name) for name in ends}
    assert found == {"within": (0, 1), "last": (0, 1), "beyond": (1, 1), "end": (1, 1)}
    assert count(64, "end") == count(64, "short") == (0, 0)


def test_the_split_hash_is_of_the_test_rows_and_their_levels(data, table):
    pairs = pairs_of("clinical", 40)
    hashes = {data(clinical=table("c", "clinical", pairs=pairs)).split_hash for _ in range(2)}
    module = data(clinical=table("c", "clinical", pairs=pairs))
    for split, same in (("train", True), ("test", False)):
        changed = copy.deepcopy(pairs)
        victim = next(pair for pair in changed if pair.uid == uids(module, split)[0])
        victim.response_post += " Yes."  # neither its levels nor its id
        assert data(clinical=table("c", "clinical", pairs=changed)).split_hash in hashes
        module.pairs[module.rows[split][0]].levels[ER] ^= 1
        assert (module.split_hash in hashes) == same
    assert len(hashes) == 1


# ---------------------------------------------------------------- columns, numbers, the cache


def test_columns_have_names_of_their_own_in_each_table(data, tmp_path):
    clinical, synthetic = tmp_path / "c.csv", tmp_path / "s.csv"
    clinical.write_text("nr,frage,antwort,em\n" + "".join(f"{n},I am on day {n},So sorry {n},1\n" for n in range(9)))
    synthetic.write_text("seeker_post,response_post,explorations\nMy week was long,What was it?,2\n")
    names = Columns(id="nr", seeker_post="frage", response_post="antwort", levels={ER: "em"})
    module = data(clinical=str(clinical), synthetic=str(synthetic), columns=SourceColumns(clinical=names))
    assert len(module.rows["train"]) == 9 - len(module.rows["test"]) - len(module.rows["validation"]) + 1
    assert module.level_counts().sum(axis=1).tolist() == [len(module.rows["train"]) - 1, 0, 1]


def test_numbers_of_posts_groups_and_levels(data, table, reddit):
    module = data(reddit=str(reddit), clinical=table("c", "clinical", 10), mechanisms=[EX, ER, EX])
    assert module.mechanisms == [EX, ER]
    posts = [pair.seeker_post for pair in module.pairs]
    assert [sorted(set(posts))[number] for number in module.posts] == posts
    assert len(module.seeker_posts) == len(set(posts))
    for row, number in enumerate(module.posts):
        assert module.seeker_posts[number].tolist() == module.tokens.seeker[row].tolist()
    assert module.levels.tolist() == [[pair.levels[EX], pair.levels[ER]] for pair in module.pairs]
    names = [module.groups[row] for row in range(len(module.pairs))]
    assert [(a == b) for a in names for b in names] == [
        (a == b) for a in module.group_numbers for b in module.group_numbers
    ]


def test_a_post_of_any_clinical_row_is_private(data, table, reddit):
    shared = data(reddit=str(reddit)).pairs[0].seeker_post
    clinical = [*pairs_of("clinical", 6), Pair("x", "clinical", shared, "Oh.", levels={ER: 0})]
    tables = {"clinical": table("c", "clinical", pairs=clinical), "synthetic": table("s", "synthetic", 6)}
    module = data(reddit=str(reddit), leakage="drop", **tables)
    parts = module.post_parts()
    assert sorted(number for numbers, _ in parts for number in numbers) == list(range(len(module.seeker_posts)))
    private = {number for numbers, is_private in parts if is_private for number in numbers}
    assert private == {module.posts[row] for row, pair in enumerate(module.pairs) if pair.source == "clinical"}
    assert module.posts[[pair.seeker_post for pair in module.pairs].index(shared)] in private
    assert len(parts) == 3


def test_runs_of_any_mix_share_the_cache_and_nothing_clinical_is_in_it(data, table, reddit, tmp_path):
    cache = tmp_path / "cache"
    clinical = pairs_of("clinical", 20)
    for pair in clinical:
        pair.seeker_post = f"Zoltan says: {pair.seeker_post}"
    options = {
        "reddit": str(reddit),
        "clinical": table("c", "clinical", pairs=clinical),
        "synthetic": table("s", "synthetic", 60),
        "cache": str(cache),
    }
    first = data(**options, mix=MixOptions(count=3, mechanism=EX))
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert len(files) == 2
    for more in (
        {"mix": MixOptions(count=9, mechanism=EX)},
        {"mix": MixOptions("substitute", share=0.1, mechanism=ER)},
        {"mechanisms": [IP]},
        {"test_on": "clinical"},
        {"split": SplitOptions(seed=3)},
    ):
        data(**options, **more)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == files
    for path in files:
        content = path.read_bytes()
        assert b"Zoltan" not in content
        for row, pair in enumerate(first.pairs):
            ids = first.tokens.seeker[row][1:10]
            assert (ids.astype(np.int32).tobytes() in content) <= (pair.source != "clinical")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTUNE_CACHE", str(tmp_path / "mine"))
    assert default_cache() == str(tmp_path / "mine")
    assert EmpathyDataModule(reddit="x").cache == tmp_path / "mine"
    assert EmpathyDataModule(reddit="x", cache="~/elsewhere").cache.name == "elsewhere"
    assert EmpathyDataModule(reddit="x", cache="").cache is None
    monkeypatch.delenv("ATTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == str(tmp_path / "xdg" / "attune")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == str(tmp_path / ".cache" / "attune")


# ---------------------------------------------------------------- loaders


def test_loaders(data, reddit, monkeypatch):
    module = data(reddit=str(reddit), evaluation_batch_size=5)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    train = batches(module.train_dataloader())
    assert sorted(row for batch in train for row in batch) == module.rows["train"]
    assert {len(batch) for batch in train} == {7, 8}
    assert batches(module.train_dataloader()) == train
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert batches(module.train_dataloader()) != train
    test = batches(module.test_dataloader())
    assert sorted(row for batch in test for row in batch) == module.rows["test"]
    assert list(map(len, test)) == [5, 5, 5, 1]
    everything = [sorted(row for batch in batches(loader) for row in batch) for loader in module.predict_dataloader()]
    assert everything == [module.rows[split] for split in SPLITS]
    assert "offsets" in next(iter(module.val_dataloader()))
    assert "offsets" not in next(iter(module.train_dataloader()))


def test_loaders_of_empty_splits(data, reddit):
    module = data(reddit=str(reddit), split=SplitOptions(0.0, 0.0))
    assert module.val_dataloader() == []
    with pytest.raises(
        UserError, match=r"no row is left to test; raise --data\.split\.test \(it is 0\.0\) or add rows"
    ):
        module.test_dataloader()
    assert len(module.predict_dataloader()) == 1
    with pytest.raises(UserError, match=r"no row is left to train on; lower --data\.split\.test"):
        data(reddit=str(reddit), split=SplitOptions(0.0, 1.0)).train_dataloader()


def test_worker_processes_give_the_same_batches(data, reddit):
    module, helped = data(reddit=str(reddit)), data(reddit=str(reddit), num_workers=1)
    for one, other in zip(module.train_dataloader(), helped.train_dataloader(), strict=True):
        assert all(one[key].equal(other[key]) for key in one)


def test_padding_to_the_window(data, reddit):
    batch = next(iter(data(reddit=str(reddit), pad_to_window=True, max_tokens=50).train_dataloader()))
    assert batch["response_ids"].shape == batch["seeker_ids"].shape == (7, 50)


def at(epoch, processed):
    """A trainer that has made so many steps of an epoch."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=processed + 1, processed=processed))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    return SimpleNamespace(current_epoch=epoch, fit_loop=loop)


def test_training_goes_on_where_it_stood(data, reddit):
    """The batch that had begun when a checkpoint was written is made again."""
    module = data(reddit=str(reddit))
    assert module.state_dict()["position"] == [0, 0]
    loader = module.train_dataloader()
    loader.batch_sampler.set_epoch(2)
    plan = batches(loader)
    assert len(plan) == 8
    for processed, position in ((0, [2, 0]), (5, [2, 5]), (8, [3, 0])):
        module.trainer = at(2, processed)
        state = json.loads(json.dumps(module.state_dict()))
        assert state["position"] == position
        again = data(reddit=str(reddit))
        again.load_state_dict(state)
        resumed = again.train_dataloader()
        resumed.batch_sampler.set_epoch(position[0])
        if processed < 8:
            assert batches(resumed) == plan[processed:]
        else:
            assert len(batches(resumed)) == 8
    assert state["text_encoder"]["max_tokens"] == 32
