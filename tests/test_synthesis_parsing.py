import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthesis.judgements import parse_labels, parse_levels, parse_quotes, parse_strategies
from synthesis.loose_json import clean
from synthesis.parsing import ParseError, Turn, parse_dialogue

POST, RESPONSE = "I can't sleep {at all}, not since May.", "I'm sorry. Do the nights scare you?"
PAIR = [Turn("seeker", POST), Turn("supporter", RESPONSE)]
AS_JSON = json.dumps({"seeker_post": POST, "response_post": RESPONSE})
AS_TURNS = json.dumps({"turns": [{"speaker": "seeker", "text": POST}, {"speaker": "supporter", "text": RESPONSE}]})
NAMES = ["Question", "Restatement or Paraphrasing", "Others"]


@pytest.mark.parametrize(
    "text",
    [
        AS_JSON,
        AS_TURNS,
        f"```json\n{AS_JSON}\n```",
        f"```\n{AS_TURNS}\n```",
        f"Sure! Here is the dialogue you asked for:\n\n{AS_JSON}\n\nLet me know if [anything] should change.",
        f"Of course {{as asked}}.\n```json\n{AS_TURNS}\n```\nHope it helps!",
        AS_JSON.removesuffix("}") + ",}",
        AS_TURNS.replace("}]", ",}, ]"),
        AS_TURNS.replace('{"speaker": "supporter"', '// the answer\n{"speaker": "supporter"'),
        f"[{AS_JSON}]",
        json.dumps({"dialogue": f"Person 1: {POST}\nPerson 2: {RESPONSE}"}),
        json.dumps([f"Seeker: {POST}", f"Supporter: {RESPONSE}"]),
        json.dumps({"Person 1": POST, "Person 2": RESPONSE}),
        json.dumps([{"Person 1": POST}, {"Person 2": RESPONSE}]),
        json.dumps({"messages": [{"role": "user", "content": POST}, {"role": "assistant", "content": RESPONSE}]}),
        json.dumps({"exchanges": [{"seeker": POST, "supporter": RESPONSE}]}),
        str({"seeker_post": POST, "response_post": RESPONSE}),
        f"Person 1: {POST}\nPerson 2: {RESPONSE}",
        f"**Person 1:** {POST}\n\n**Person 2:** {RESPONSE}\n\n(Note: the answer is warm.)",
        f"Title: a hard night\n\nSeeker: {POST}\nResponse: {RESPONSE}\n---\nThis shows concern.",
        f'- Person 1: "{POST}"\n- Person 2: "{RESPONSE}"',
        f"1. Client: {POST}\n2. Therapist: {RESPONSE}",
        f"PERSON A: {POST}\nPERSON B: {RESPONSE}",
        f"```\nPerson 1: {POST}\nPerson 2: {RESPONSE}\n```",
        f'<think>Person 1: perhaps "seeker_post"?</think>{AS_JSON}',
        f"Perhaps {AS_JSON.replace(RESPONSE, 'Why?')}. No, warmer.\n</think>\n{AS_JSON}",
        AS_JSON.replace("sleep", "sleep\t"),
    ],
)
def test_one_exchange_in_many_forms(text):
    turns, left_off = parse_dialogue(text, 1)
    assert [(t.speaker, " ".join(t.text.split()), t.strategy) for t in turns] == [(t.speaker, t.text, "") for t in PAIR]
    assert left_off == 0


def test_a_raw_line_break_in_json_and_in_a_transcript_is_kept():
    for text in (
        '{"seeker_post": "first line\nsecond line", "response_post": "go on"}',
        "Person 1: first line\nsecond line\nPerson 2: go on",
    ):
        assert parse_dialogue(text, 1)[0] == [Turn("seeker", "first line\nsecond line"), Turn("supporter", "go on")]


def test_commas_before_brackets_within_texts_stay():
    text = '{"seeker_post": "so, } and, ] // here", "response_post": "a /* b */ c",}'
    assert [turn.text for turn in parse_dialogue(text, 1)[0]] == ["so, } and, ] // here", "a /* b */ c"]


def test_whole_and_half_characters():
    text = '{"seeker_post": "oh \\ud83d\\ude00", "response_post": "I see"}'
    assert parse_dialogue(text, 1)[0][0].text == "oh 😀"
    assert parse_levels('{"levels": [1], "reason": "half \\ud83d"}', 1) == ([1], "half �")
    assert clean("half \ud83d, whole \ud83d\ude00") == "half �, whole 😀"


def test_curly_quotes_as_delimiters():
    assert [t.text for t in parse_dialogue("{“seeker_post”: “oh no”, “response_post”: “I see”}", 1)[0]] == [
        "oh no",
        "I see",
    ]


def test_turns_of_one_speaker_are_joined_and_further_turns_counted():
    text = "Person 1: one\nPerson 1: two\nPerson 2: three\nPerson 1: four\nPerson 2: five"
    turns, left_off = parse_dialogue(text, 1)
    assert turns == [Turn("seeker", "one\ntwo"), Turn("supporter", "three")]
    assert left_off == 2
    assert [turn.text for turn in parse_dialogue(text, 2)[0]] == ["one\ntwo", "three", "four", "five"]


@pytest.mark.parametrize(
    "text",
    [
        '{"turns": [{"speaker": "seeker", "text": "a b"}, '
        '{"speaker": "supporter", "text": "c d", "strategy": "question"}]}',
        "Person 1: a b\nPerson 2 (Question): c d",
        "Person 1: a b\n**Person 2:** [Question] c d",
        '{"seeker": "a b", "response": "c d", "strategy": "QUESTION"}',
    ],
)
def test_strategies_are_named_as_the_list_has_them(text):
    assert parse_dialogue(text, 1, NAMES)[0] == [Turn("seeker", "a b"), Turn("supporter", "c d", "Question")]


@pytest.mark.parametrize(
    ("text", "message", "refused"),
    [
        ("", "empty", False),
        ("   \n", "empty", False),
        ("<think>hm</think>", "empty", False),
        ("Once upon a time there was a seeker.", "no dialogue", False),
        ("{}", "no dialogue", False),
        ('{"seeker_post": "a b", "response_post": 3}', "no dialogue", False),
        ('{"seeker_post": "a b", "response_post": "c d', "no dialogue", False),
        ('{"turns": [{"speaker": "seeker", "text": "a b"}, {"speaker": "supporter", "te', "no dialogue", False),
        (
            '{"turns": [{"speaker": "narrator", "text": "a b"}, {"speaker": "supporter", "text": "c"}]}',
            "no dial",
            False,
        ),
        ("Person 1: a b", "no dialogue", False),
        ("Person 2: hello there\nPerson 1: a b", "begins with the supporter", False),
        ('{"seeker_post": "a b", "response_post": "..."}', "no words", False),
        ('{"seeker_post": "seeker post", "response_post": "c d"}', "no words", False),
        ('{"seeker_post": "a b", "response_post": ""}', "no words", False),
        ('{"seeker_post": "a\\u0000b", "response_post": "c d"}', "no text", False),
        ("I'm sorry, but I can't help with that.", "declined", True),
        ("As an AI language model, I do not write such things.", "declined", True),
        ('{"seeker_post": "a b", "response_post": "I cannot assist with that."}', "refusal", True),
        ('{"seeker_post": "a b", "response_post": "c \\ud83d d"}', "no text", False),
        ("[" * 5000, "no dialogue", False),
    ],
)
def test_what_is_no_dialogue(text, message, refused):
    with pytest.raises(ParseError, match=message) as error:
        parse_dialogue(text, 1)
    assert error.value.refused is refused


def test_too_few_turns():
    with pytest.raises(ParseError, match="2 turns where 6"):
        parse_dialogue(AS_JSON, 3)


def test_an_answer_cut_off_counts_only_where_its_end_is_marked():
    assert parse_dialogue(f"{AS_JSON} And th", 1, cut=True)[0] == PAIR
    with pytest.raises(ParseError, match="cut off"):
        parse_dialogue(f"Person 1: {POST}\nPerson 2: {RESPONSE[:10]}", 1, cut=True)


@pytest.mark.parametrize("strategy", ["", "Advice", "Question, Others"])
def test_an_unknown_strategy(strategy):
    text = json.dumps({"seeker": "a b", "response": "c d", "strategy": strategy})
    with pytest.raises(ParseError, match="is none of Question"):
        parse_dialogue(text, 1, NAMES)


@settings(deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_comes_back_from_json_as_it_was_or_not_at_all(post, response):
    text = json.dumps({"seeker_post": post, "response_post": response})
    try:
        turns, _ = parse_dialogue(text, 1)
    except ParseError:
        return
    assert [turn.text for turn in turns] == [post.strip(), response.strip()]


@settings(deadline=None)
@given(st.text())
def test_no_answer_breaks_the_parsers(text):
    for parse in (
        lambda: parse_dialogue(text, 1),
        lambda: parse_levels(text, 1),
        lambda: parse_labels(text, 1),
        lambda: parse_strategies(text, 1, NAMES),
        lambda: parse_quotes(text, ["a"]),
    ):
        try:
            parse()
        except ParseError:
            continue


@pytest.mark.parametrize(
    ("text", "responses", "levels", "reason"),
    [
        ('{"levels": [2], "reason": "it says so"}', 1, [2], "it says so"),
        ('```json\n{"levels": [0, 1], "reason": "r",}\n```', 2, [0, 1], "r"),
        ('{"level": 1}', 1, [1], ""),
        ('{"level": "strong", "explanation": "e"}', 1, [2], "e"),
        ('{"levels": ["0"]}', 1, [0], ""),
        ('{"levels": [1.0]}', 1, [1], ""),
        ("Level: 2", 1, [2], "Level: 2"),
        ("I would say the level is weak here.", 1, [1], "I would say the level is weak here."),
    ],
)
def test_levels(text, responses, levels, reason):
    assert parse_levels(text, responses) == (levels, reason)


@pytest.mark.parametrize(
    ("text", "responses"),
    [
        ('{"levels": [3]}', 1),
        ('{"levels": [true]}', 1),
        ('{"levels": [1.5]}', 1),
        ('{"levels": ["very"]}', 1),
        ('{"levels": [1]}', 2),
        ('{"levels": [1, 2]}', 1),
        ("Level 1, or level 2?", 1),
        ("It is good.", 1),
        ("Level: 2", 2),
        ("", 1),
    ],
)
def test_what_is_no_level(text, responses):
    with pytest.raises(ParseError):
        parse_levels(text, responses)


def test_labels_of_all_mechanisms():
    text = 'So: {"emotional_reactions": [0, 1], "interpretations": ["strong", 0], "explorations": [2, 2]}'
    assert parse_labels(text, 2) == [
        {"emotional_reactions": 0, "interpretations": 2, "explorations": 2},
        {"emotional_reactions": 1, "interpretations": 0, "explorations": 2},
    ]
    with pytest.raises(ParseError, match="no emotional_reactions and interpretations and explorations"):
        parse_labels('{"emotional_reactions": [0], "interpretations": [0]}', 1)


def test_strategies_seen():
    text = '{"strategies": ["others", "restatement or paraphrasing"], "reason": "so"}'
    assert parse_strategies(text, 2, NAMES) == (["Others", "Restatement or Paraphrasing"], "so")
    with pytest.raises(ParseError, match="1 strategies for 2 turns"):
        parse_strategies('{"strategies": "Others"}', 2, NAMES)


def test_quotes_become_offsets_only_where_they_stand_in_the_response():
    responses = ["I am sorry. Are you alone?", "Take care."]
    text = json.dumps(
        {
            "emotional_reactions": [["I am sorry.", "so sorry"], ["Take care."]],
            "explorations": [["are you alone?", " Are you alone? ", ""], []],
        }
    )
    assert parse_quotes(text, responses) == (
        [{"emotional_reactions": [(0, 11)], "explorations": [(12, 26)]}, {"emotional_reactions": [(0, 10)]}],
        3,
    )


def test_quotes_of_one_response_may_be_a_flat_list():
    assert parse_quotes('{"explorations": ["b c", "a"]}', ["a b c"]) == ([{"explorations": [(0, 1), (2, 5)]}], 0)
    with pytest.raises(ParseError, match="no mechanism"):
        parse_quotes('{"warmth": ["a"]}', ["a"])
