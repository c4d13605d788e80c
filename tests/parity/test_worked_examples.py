"""Cases made by hand: every id, label and mask written out, with the steps that lead there."""

import hashlib

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from datamodules.batching import EvaluationBatches, TrainBatches
from datamodules.mixing import augment, draw_ratio, substitute
from datamodules.pair_batches import PairCollator
from datamodules.records import MECHANISMS, Pair
from datamodules.sources.placing import place_all
from datamodules.spans import labels_to_spans, published_labels
from datamodules.splits import SPLITS, SplitOptions, split_groups
from datamodules.tokenised import TextEncoder, tokenise

ER, IP, EX = MECHANISMS
NO = -100

# ---------------------------------------------------------------- a tokenizer whose every step can be followed

PIECES = ["<s>", "<pad>", "</s>", "<unk>", *"IOahkmorsy.,?()Ġ", *"ðŁĻĤ"]  # 0 to 23; Ġ is the space, ðŁĻĤ is 🙂
MERGES = [
    ("Ġ", "s"),  # 24
    ("Ġs", "o"),  # 25
    ("Ġso", "r"),  # 26
    ("r", "y"),  # 27
    ("s", "o"),  # 28
    ("O", "h"),  # 29
    ("a", "m"),  # 30
    ("Ġ", "am"),  # 31
    ("o", "k"),  # 32
    ("Ġ", "("),  # 33
]


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level pairs like RoBERTa's; offsets begin at the space before a word, as the model stores them."""
    vocabulary = {piece: number for number, piece in enumerate([*PIECES, *map("".join, MERGES)])}
    fast = Tokenizer(models.BPE(vocabulary, MERGES, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    fast.decoder = decoders.ByteLevel()
    fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def tokenised(tokenizer, *pairs, window=64, **options):
    return tokenise(pairs, TextEncoder.from_tokenizer(tokenizer, window), tokenizer=tokenizer, **options)


def pair(text, **fields):
    return Pair("1", "reddit", "I am ok", text, **fields)


# ---------------------------------------------------------------- spans

SPANS = {
    # <s> I Ġam Ġso Ġsor ry . </s>; the rationale " so sorry" begins with a space
    "leading space": (
        "I am so sorry.",
        [(4, 13)],
        [0, 4, 31, 25, 26, 27, 14, 2],
        [(0, 0), (0, 1), (2, 4), (5, 7), (8, 11), (11, 13), (13, 14), (0, 0)],
        [0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1],
        [(5, 13)],
    ),
    # <s> Ġ so Ġ </s>; a space of its own has no width and no label
    "space alone": (
        " so ",
        [(0, 4)],
        [0, 25, 19, 2],
        [(0, 0), (1, 3), (3, 3), (0, 0)],
        [0, 1, 0, 0],
        [1],
        [(1, 3)],
    ),
    # <s> Oh Ġ ð Ł Ļ Ĥ ð Ł Ļ Ĥ Ġ ok </s>; the rationale is the second of two emojis, four bytes each
    "emoji": (
        "Oh 🙂🙂 ok",
        [(4, 5)],
        [0, 29, 19, 20, 21, 22, 23, 20, 21, 22, 23, 19, 32, 2],
        [(0, 0), (0, 2), (2, 2), *[(3, 4)] * 4, *[(4, 5)] * 4, (5, 5), (6, 8), (0, 0)],
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 0],
        [(4, 5)],
    ),
    # <s> so Ġsor ry , Ġso </s>; the rationale is the second "so", whatever stands before
    "repeated text": (
        "so sorry, so",
        [(10, 12)],
        [0, 28, 26, 27, 15, 25, 2],
        [(0, 0), (0, 2), (3, 6), (6, 8), (8, 9), (10, 12), (0, 0)],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 1],
        [(10, 12)],
    ),
    # <s> I Ġam Ġ( so ? ) Ġsor ry . </s>
    "characters of regular expressions": (
        "I am (so?) sorry.",
        [(5, 10)],
        [0, 4, 31, 33, 28, 16, 18, 26, 27, 14, 2],
        [(0, 0), (0, 1), (2, 4), (5, 6), (6, 8), (8, 9), (9, 10), (11, 14), (14, 16), (16, 17), (0, 0)],
        [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0],
        [(5, 10)],
    ),
    # <s> Oh Ġso Ġsor ry . </s>; "Oh so" and "so sorr" overlap, the second ends within a token and a word
    "overlaps": (
        "Oh so sorry.",
        [(0, 5), (3, 10)],
        [0, 29, 25, 26, 27, 14, 2],
        [(0, 0), (0, 2), (3, 5), (6, 9), (9, 11), (11, 12), (0, 0)],
        [0, 1, 1, 1, 1, 0, 0],
        [1, 1, 1],
        [(0, 11)],
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_spans(tokenizer, name):
    text, spans, ids, offsets, labels, words, back = SPANS[name]
    tokens = tokenised(tokenizer, pair(text, rationales={IP: spans}))
    assert tokens.response[0].tolist() == ids
    assert list(map(tuple, tokens.offsets[0].reshape(-1, 2).tolist())) == offsets
    assert tokens.labels[IP][0].tolist() == labels
    assert [text[start:end] for start, end in tokens.words[0].reshape(-1, 2)] == text.split()
    assert tokens.gold_words[IP][0].tolist() == words
    for mechanism in (ER, EX):  # no rationale: no labels
        assert tokens.labels[mechanism][0].tolist() == tokens.gold_words[mechanism][0].tolist() == []
    assert tokens.cut.tolist() == [[0, 0]]
    assert labels_to_spans(np.array(labels, bool), tokens.offsets[0].reshape(-1, 2)) == back


def test_truncation(tokenizer):
    """A window of five keeps <s> I Ġam Ġso </s>; of "so sorry" the second word is cut, and still counts as a word."""
    tokens = tokenised(tokenizer, pair("I am so sorry.", rationales={ER: [(5, 13)], EX: [(8, 13)]}), window=5)
    assert tokens.response[0].tolist() == [0, 4, 31, 25, 2]
    assert tokens.labels[ER][0].tolist() == [0, 0, 0, 1, 0]
    assert tokens.labels[EX][0].tolist() == [0, 0, 0, 0, 0]  # given, and wholly cut
    assert tokens.words[0].tolist() == [0, 1, 2, 4, 5, 7, 8, 14]
    assert tokens.gold_words[ER][0].tolist() == [0, 0, 1, 1]
    assert tokens.gold_words[EX][0].tolist() == [0, 0, 0, 1]
    assert tokens.cut.tolist() == [[3, 1]]  # Ġsor ry . of the response, and ok of the seeker post, I Ġam Ġ ok
    assert tokens.seeker[0].tolist() == [0, 4, 31, 19, 2]


def test_truncation_of_the_seeker_post(tokenizer):
    tokens = tokenised(tokenizer, pair("Oh."), window=4)
    assert tokens.seeker[0].tolist() == [0, 4, 31, 2]  # I Ġam, without Ġ ok
    assert tokens.cut.tolist() == [[0, 2]]


def test_rationales_given_as_text(tokenizer):
    """'so|sorry|so' in "so sorry, so": each "so" finds a place of its own."""
    spans, _ = place_all(["so", "sorry", "so"], "so sorry, so")
    assert spans == [(0, 2), (3, 8), (10, 12)]
    tokens = tokenised(tokenizer, pair("so sorry, so", rationales={IP: spans}))
    assert tokens.labels[IP][0].tolist() == [0, 1, 1, 1, 0, 1, 0]
    assert tokens.gold_words[IP][0].tolist() == [1, 1, 1]


def test_clauses(tokenizer):
    """Oh, | so sorry. | I am: a comma and a stop end a clause. <s> Oh , Ġso Ġsor ry . Ġ I Ġam </s>."""
    tokens = tokenised(tokenizer, pair("Oh, so sorry. I am"))
    assert tokens.response[0].tolist() == [0, 29, 15, 25, 26, 27, 14, 19, 4, 31, 2]
    assert tokens.clauses[0].tolist() == [-1, 0, 0, 1, 1, 1, 1, -1, 2, 2, -1]


# ---------------------------------------------------------------- the published search of rationales

# "Oh so sorry." is decoded as "<s>Oh so sorry.</s>", twelve characters of which are in the map from characters to
# tokens, because the response has twelve. Each token takes its own characters and one more:
#   <s> 0-3   Oh 4-6   so 7-9   sor 10-11 (to 13)   ry .
PUBLISHED = {
    "so": [0, 1, 1, 0, 0, 0, 0],  # found at 6 and 7, which the map gives to "Oh" and "so"
    "sorry": [0, 0, 1, 1, 0, 0, 0],  # found at 9 to 13
    "Oh": [1, 1, 0, 0, 0, 0, 0],  # found at 3 and 4
    "so?": [1, 0, 0, 0, 0, 0, 0],  # an expression: the "s" of "<s>", then three characters are marked
    "(sorry)": [0, 0, 1, 1, 0, 0, 0],  # brackets are no characters to it
    "(so": [0, 0, 0, 0, 0, 0, 0],  # no expression: dropped
    "am": [0, 0, 0, 0, 0, 0, 0],  # not there: dropped
}


@pytest.mark.parametrize("rationale", PUBLISHED)
def test_published_search(tokenizer, rationale):
    labels, keeps = published_labels("Oh so sorry.", [rationale], tokenizer, 64)
    assert labels.tolist() == PUBLISHED[rationale]
    assert keeps


def test_published_search_of_several(tokenizer):
    labels, _ = published_labels("Oh so sorry.", ["(so", "so", "Oh"], tokenizer, 64)
    assert labels.tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_published_rows_that_tokenise_to_another_length(tokenizer):
    """A window of five cuts 🙂 after a byte: <s> Oh Ġ ð </s>. What is left reads "<s>Oh \ufffd</s>": seven tokens."""
    labels, keeps = published_labels("Oh 🙂", ["Oh"], tokenizer, 5)
    assert not keeps
    assert labels.tolist() == [1, 0, 0, 0, 0]  # the map has four characters: the "O" at 3 is <s>'s, the "h" nobody's
    assert published_labels("Oh 🙂", [], tokenizer, 8)[1]


def test_published_search_in_a_row(tokenizer):
    rows = [
        pair("Oh so sorry.", rationales={ER: [(3, 5)], EX: [(6, 11)]}),
        pair("Oh so sorry."),
        pair("Oh 🙂", rationales={IP: [(0, 2)]}),
        pair("Oh 🙂"),
    ]
    tokens = tokenised(tokenizer, *rows, search="published", window=5)
    assert [tokens.labels[ER][row].tolist() for row in range(4)] == [[0, 1, 1, 0, 0], [], [], []]
    assert [tokens.labels[EX][row].tolist() for row in range(4)] == [[0, 0, 0, 0, 0], [], [], []]  # beyond the window
    assert [tokens.labels[IP][row].tolist() for row in range(4)] == [[], [], [1, 0, 0, 0, 0], []]
    assert tokens.gold_words[ER][0].tolist() == [0, 1, 0]  # what is right is not a matter of the search
    assert tokens.retokenises.tolist() == [True, True, False, False]


# ---------------------------------------------------------------- a batch


def test_batch(tokenizer):
    rows = [
        pair("I am so sorry.", levels={ER: 2, IP: 0}, rationales={ER: [(5, 13)]}),
        Pair("2", "reddit", "so", "Oh 🙂 ok", levels={IP: 1, EX: 0}, rationales={IP: [(3, 4)]}),
    ]
    tokens = tokenised(tokenizer, *rows)
    levels = np.array([[2, 0, -1], [-1, 1, 0]])
    collator = PairCollator(tokens, levels, np.array([5, 6]), np.array([7, 8]), MECHANISMS, 1, evaluation=True)
    batch = {key: value.tolist() for key, value in collator([1, 0]).items()}
    T, F = True, False  # noqa: N806
    assert batch == {
        "rows": [1, 0],
        "groups": [6, 5],
        "posts": [8, 7],
        # <s> Oh Ġ ð Ł Ļ Ĥ Ġ ok </s>, and <s> I Ġam Ġso Ġsor ry . </s> <pad> <pad>
        "response_ids": [[0, 29, 19, 20, 21, 22, 23, 19, 32, 2], [0, 4, 31, 25, 26, 27, 14, 2, 1, 1]],
        "response_mask": [[T] * 10, [T, T, T, T, T, T, T, T, F, F]],
        # <s> so </s>, and <s> I Ġam Ġ ok </s>
        "seeker_ids": [[0, 28, 2, 1, 1, 1], [0, 4, 31, 19, 32, 2]],
        "seeker_mask": [[T, T, T, F, F, F], [T] * 6],
        "levels": [[-1, 1, 0], [2, 0, -1]],
        "token_labels": [
            [[NO] * 10, [NO, 0, NO, 1, 1, 1, 1, NO, 0, NO], [NO] * 10],
            [[NO, 0, 0, 1, 1, 1, 0, NO, NO, NO], [NO] * 10, [NO] * 10],
        ],
        "offsets": [
            [[0, 0], [0, 2], [2, 2], [3, 4], [3, 4], [3, 4], [3, 4], [4, 4], [5, 7], [0, 0]],
            [[0, 0], [0, 1], [2, 4], [5, 7], [8, 11], [11, 13], [13, 14], [0, 0], [0, 0], [0, 0]],
        ],
        "clauses": [[-1, 0, -1, 0, 0, 0, 0, -1, 0, -1], [-1, 0, 0, 0, 0, 0, 0, -1, -1, -1]],
        "words": [[[0, 2], [3, 4], [5, 7], [0, 0]], [[0, 1], [2, 4], [5, 7], [8, 14]]],
        "gold_words": [
            [[0, 0, 0, -1], [0, 1, 0, -1], [0, 0, 0, -1]],
            [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        "has_rationale": [[F, T, F], [T, F, F]],
    }


# ---------------------------------------------------------------- splits


def by_key(names, prefix):
    """Names in the seeded order: by the SHA-256 of what stands before them and their name."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{prefix}{name}".encode()).hexdigest())


def test_split():
    rows = {
        "a1": ("A", 0), "a2": ("A", 2), "b": ("B", 1), "c": ("C", 0), "d1": ("D", 0),
        "d2": ("D", 0), "e": ("E", 2), "f": ("F", 1), "g": ("G", 0), "h": ("H", 0),
    }  # fmt: skip
    assert by_key("ABCDEFGH", "0:") == ["C", "B", "G", "E", "A", "D", "F", "H"]
    # Train, validation and test want 5, 2 and 3 rows: 3, 1.2, 1.8 of level 0; 1, .4, .6 of level 1 and of level 2.
    # Level 1 is (with level 2) the rarest: B goes to train, which lacks 1; F to test, which lacks .6.
    # Level 2: E to train, which lacks 1; A to test, which lacks .6. Test now lacks .8 of level 0.
    # Level 0: C to train (lacks 3), G to train (2), D to validation (1.2 against 1), H to train (1 against .8).
    parts = split_groups(
        [group for group, _ in rows.values()],
        [[f"explorations/{level}"] for _, level in rows.values()],
        SplitOptions(validation=0.2, test=0.3, seed=0),
    )
    split = {name: [row for row, part in zip(rows, parts, strict=True) if SPLITS[part] == name] for name in SPLITS}
    assert split == {"train": ["b", "c", "e", "g", "h"], "validation": ["d1", "d2"], "test": ["a1", "a2", "f"]}


# ---------------------------------------------------------------- mixing


def of_levels(source, generator, levels):
    return [
        Pair(f"{(generator or source)[0]}{number}", source, "s", "r", generator=generator, levels={IP: level})
        for number, level in enumerate(levels)
    ]


PAIRS = [
    *of_levels("reddit", "", [0, 0, 0, 0, 0, 1, 2, 2, 2, 2]),  # r0 to r9
    *of_levels("synthetic", "gpt", [0, 0, 1, 1, 2, 2]),  # g0 to g5
    *of_levels("synthetic", "fal", [0, 1, 2]),  # f0 to f2
]
BASE, SYNTHETIC = list(range(10)), list(range(10, 19))


def ids(rows):
    return [PAIRS[row].id for row in rows]


def seeded_order(what, rows):
    """Ids in the order in which seed 0 draws them, level by level."""
    names = {PAIRS[row].uid: PAIRS[row] for row in rows}
    ordered = [names[name] for name in by_key(names, f"0:{what}:")]
    return {level: [pair.id for pair in ordered if pair.levels[IP] == level] for level in range(3)}


def test_orders_of_the_draws():
    assert seeded_order("add", SYNTHETIC) == {0: ["g0", "f0", "g1"], 1: ["f1", "g3", "g2"], 2: ["f2", "g5", "g4"]}
    assert seeded_order("remove", BASE) == {0: ["r4", "r3", "r1", "r2", "r0"], 1: ["r5"], 2: ["r6", "r7", "r9", "r8"]}


@pytest.mark.parametrize(
    ("count", "added"),
    [
        (3, ["g0", "f1", "f2"]),  # one of each level
        (5, ["g0", "f0", "f1", "g3", "f2"]),  # the lower levels get the two extra rows
        (8, ["g0", "f0", "g1", "f1", "g3", "g2", "f2", "g5"]),
    ],
)
def test_augment(count, added):
    mix = augment(PAIRS, BASE, SYNTHETIC, count=count, mechanism=IP, seed=0)
    assert ids(mix.added) == added
    assert ids(mix.rows) == [f"r{number}" for number in range(10)] + added
    assert mix.removed == []


@pytest.mark.parametrize(
    ("share", "removed", "added", "kept"),
    [
        # Two of ten: 1, .2 and .8 of the levels' 5, 1 and 4 rows, so 1, 0 and 1.
        (0.2, ["r4", "r6"], ["g0", "f2"], ["r0", "r1", "r2", "r3", "r5", "r7", "r8", "r9"]),
        # Five of ten: 2.5, .5 and 2; of the two halves the lower level's goes up.
        (0.5, ["r4", "r3", "r1", "r6", "r7"], ["g0", "f0", "g1", "f2", "g5"], ["r0", "r2", "r5", "r8", "r9"]),
    ],
)
def test_substitute(share, removed, added, kept):
    mix = substitute(PAIRS, BASE, SYNTHETIC, share=share, mechanism=IP, seed=0)
    assert ids(mix.removed) == removed
    assert ids(mix.added) == added
    assert ids(mix.rows) == kept + added


def test_ratio():
    uids = [PAIRS[row].uid for row in BASE + SYNTHETIC]
    drawn_first = [name.split(":")[2] for name in by_key(uids, "0:draw:")]
    assert [name for name in drawn_first if name[0] == "r"][:3] == ["r3", "r2", "r8"]
    assert [name for name in drawn_first if name[0] != "r"][:6] == ["f1", "g4", "f2", "g0", "g2", "f0"]
    for count, replacement, drawn in [
        (4, False, ["r3", "f1", "g4", "f2"]),  # one to three
        (7, False, ["r3", "r2", "f1", "g4", "f2", "g0", "g2"]),  # 1.75 to 5.25
        (4, True, ["r1", "g4", "g4", "g5"]),
        (7, True, ["r1", "r7", "g4", "g4", "g5", "g4", "g1"]),
    ]:
        weights = {"reddit": 1, "synthetic": 3}
        mix = draw_ratio(PAIRS, BASE + SYNTHETIC, weights=weights, count=count, replacement=replacement, seed=0)
        assert ids(mix.rows) == drawn
        assert ids(mix.added) == [name for name in drawn if name[0] != "r"]


# ---------------------------------------------------------------- sampling

LENGTHS = np.array([9, 3, 5, 7, 4, 8, 6, 2])


def test_training_batches():
    """Eight rows in batches of three: 3, 3 and 2 rows, by length (7 1 4 | 2 6 3 | 5 0), in the order 1, 2, 0."""
    generator = np.random.default_rng([0, 0])  # seed and epoch
    assert generator.permutation(8).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert generator.permutation(3).tolist() == [1, 2, 0]
    assert list(TrainBatches(range(8), LENGTHS, 3, seed=0)) == [[2, 6, 3], [5, 0], [7, 1, 4]]
    assert list(TrainBatches(range(8), LENGTHS, 3, seed=0, bucketed=False)) == [[2, 4, 3], [6, 5, 0], [1, 7]]


def test_evaluation_batches():
    assert list(EvaluationBatches(range(8), LENGTHS, 3)) == [[7, 1, 4], [2, 6, 3], [5, 0]]
    assert list(EvaluationBatches([3, 0, 7], LENGTHS, 2)) == [[7, 3], [0]]
