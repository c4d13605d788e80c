import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.placing import merge_spans, place, place_all

TEXTS = st.text(max_size=60)


def placed(rationale, text, **kwargs):
    """The text that the span covers, and the rule."""
    found = place(rationale, text, **kwargs)
    return found and (text[slice(*found[0])], found[1])


@pytest.mark.parametrize(
    ("rationale", "text", "span", "rule"),
    [
        ("so sorry", "I am so sorry.", (5, 13), "exact"),
        ("  so sorry\n", "I am so sorry.", (5, 13), "exact"),
        ("why (really?) [a+b]*", "Tell me why (really?) [a+b]* now", (8, 28), "exact"),  # regular expression characters
        ("^.*$", "It said ^.*$ twice", (8, 12), "exact"),
        ("🙂 hang on", "Oh 🙂 hang on", (3, 12), "exact"),
        ("So   Sorry", "I am so\n sorry.", (5, 14), "loose"),
        ("sosorry", "I am so sorry.", (5, 13), "loose"),
        ("straße", "Die STRASSE dort", (4, 11), "loose"),  # case folding changes lengths
        ("the ﬁrst", "be the first one", (3, 12), "loose"),
        ("keep on & fight <3", "Do keep on &amp; fight &lt;3 ok", (3, 28), "loose"),  # HTML character references
        ("a &#x200B; b", "x a &amp;#x200B; b", (2, 18), "loose"),  # doubly escaped, of an invisible character
        ("it&#39;s fine", "Say it's fine.", (4, 13), "loose"),
        ("i ❤ you", "Well I ❤\ufe0f you", (5, 13), "loose"),  # with and without a variation selector
    ],
)
def test_finds_the_span(rationale, text, span, rule):
    assert place(rationale, text) == (span, rule)


def test_composed_and_decomposed_characters_match_and_marks_stay_with_their_letter():
    composed, decomposed = "tu café là", unicodedata.normalize("NFD", "Oui, tu café là.")
    found = placed(composed, decomposed)
    assert found == (unicodedata.normalize("NFD", composed), "loose")
    assert placed("É", "cafe\u0301 x") == ("e\u0301", "loose")
    assert placed(unicodedata.normalize("NFD", composed), "Oui, tu café là.") == (composed, "loose")
    assert place("\u0301X", "a \u0301x") == ((2, 4), "loose")  # a mark without a letter


def test_nothing_is_placed_for_a_blank_or_absent_rationale():
    assert place("", "some text") is None
    assert place(" \n\t", "some text") is None
    assert place("\u200b", "some text") is None
    assert place("cheer up", "") is None
    assert place("cheer up", "I am so sorry.") is None


def test_repeated_text_takes_the_first_place_that_is_free():
    text = "Hang on. Yes, hang on. HANG ON."
    assert place("hang on", text) == ((14, 21), "exact")
    assert place("Hang on", text, taken=[(0, 3)]) == ((0, 7), "exact")  # exact and taken goes before loose and free
    again = "ok ok ok"
    assert place("ok", again, taken=[(0, 2)]) == ((3, 5), "exact")
    assert place("ok", again, taken=[(0, 2), (4, 5)]) == ((6, 8), "exact")
    assert place("ok", again, taken=[(0, 8)]) == ((0, 2), "exact")
    assert place("aa", "aaaa", taken=[(0, 1)]) == ((1, 3), "exact")
    assert place("O K", again, taken=[(0, 2)]) == ((3, 5), "loose")


def test_all_rationales_of_an_annotation_find_places_beside_each_other():
    spans, outcomes = place_all(["ok", " ", "OK", "ok", "never said", "ok"], "ok then ok and ok")
    assert spans == [(0, 2), (8, 10), (15, 17)]
    assert outcomes == ["placed_exact", "placed_loose", "placed_exact", "unplaced", "placed_exact"]


def test_aligns_a_rationale_whose_words_differ_slightly():
    text = "Hello. I keep myself busy with drawing, writing, browsing, and watching shows. Bye."
    rationale = "I keep myself busy with drawing, writing, browsing Reddit, and watching shows"
    assert placed(rationale, text) == (
        "I keep myself busy with drawing, writing, browsing, and watching shows",
        "aligned",
    )


def test_origin_says_which_place_is_meant():
    """The words alone fit Ann's as well, and first; the text around them decides."""
    origin = "Ann: we are here for you all day yes. Bob: we are here for you all day long ok."
    text = "Ann: we are here for you all day yes. Bob: we are here for you all day ok."
    assert place("we are here for you all day long", text) == ((5, 32), "aligned")
    assert place("we are here for you all day long", text, origin=origin) == ((43, 70), "aligned")


def test_aligned_spans_need_most_of_the_rationale():
    """Four of five letters make the share of .8; three of five don't."""
    assert placed("aa b cc", "x aa cc y") == ("aa cc", "aligned")
    assert place("aa bb c", "x aa c y") is None


def test_aligned_spans_hold_mostly_the_rationale():
    scattered = "I " + "was thinking about the weather " * 5 + "am here"
    assert place("I am here", scattered) is None


def test_origin_without_the_rationale_is_no_help_and_no_harm():
    text = "One two three four five six, seven."
    assert placed("one two tree four five six", text, origin="nothing of it") == (
        "One two three four five six",
        "aligned",
    )


def test_merges_spans_that_overlap_or_touch():
    assert merge_spans([(5, 9), (0, 2), (2, 3), (8, 12), (14, 15), (6, 7)]) == [(0, 3), (5, 12), (14, 15)]
    assert merge_spans([]) == []


@given(before=TEXTS, piece=TEXTS, after=TEXTS)
def test_a_part_of_the_text_is_always_placed_exactly(before, piece, after):
    found = place(piece, before + piece + after)
    if not piece.strip():
        assert found is None
    else:
        (start, end), rule = found
        assert (before + piece + after)[start:end] == piece.strip()
        assert rule == "exact"
        assert start <= len(before) + len(piece) - len(piece.lstrip())


@given(rationale=TEXTS, text=TEXTS, origin=st.none() | TEXTS)
def test_spans_lie_in_the_text_without_white_space_at_their_ends(rationale, text, origin):
    found = place(rationale, text, origin=origin)
    if found:
        start, end = found[0]
        assert 0 <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()


@given(
    words=st.lists(st.text("abcÀéß🙂(.*", min_size=1, max_size=6), min_size=1, max_size=8),
    spaces=st.lists(st.sampled_from([" ", "  ", "\n", "\t "]), min_size=8, max_size=8),
    form=st.sampled_from(["NFC", "NFD"]),
)
def test_white_space_case_and_unicode_form_never_matter(words, spaces, form):
    text = "# " + unicodedata.normalize(form, "".join(w + s for w, s in zip(words, spaces, strict=False)).upper())
    found = place(" ".join(words), text)
    assert found is not None
    assert found[0] == (2, len(text.rstrip()))
    assert found[1] in ("exact", "loose")


@given(text=TEXTS, pieces=st.lists(TEXTS, max_size=5))
def test_each_piece_has_one_outcome(text, pieces):
    spans, outcomes = place_all(pieces, text)
    assert len(outcomes) == sum(bool(piece.strip()) for piece in pieces)
    assert spans == sorted(set(spans))
    assert len(spans) <= sum(outcome != "unplaced" for outcome in outcomes)


def test_three_thousand_rows_take_seconds():
    """The slowest path: each rationale differs in a word and is given with another version of the text."""
    sentence = "I felt the same when I was {} and it took me a long time to say so. "
    start = time.process_time()
    for i in range(3000):
        text = "".join(sentence.format(i + k) for k in range(3))
        assert (
            place(sentence.format(f"only {i + 1}"), text, origin=sentence.format(f"only {i + 1}") + "Ok.") is not None
        )
    assert time.process_time() - start < 10
    long_text = "and so on and on " * 2000
    assert place("and never so on " * 200, long_text, origin="and never so on " * 2000) is None
    assert time.process_time() - start < 20
