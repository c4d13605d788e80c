"""What annotators are asked, and what the answers mean, in this project's own words.

The mechanisms and levels are EPITOME's (Sharma et al., EMNLP 2020), the strategies ESConv's (Liu et al., ACL 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodules.records import LEVEL_NAMES, MECHANISMS

__all__ = ["LEVEL_MEANINGS", "STRATEGY_MEANINGS", "TITLES", "Questions", "guidelines"]

TITLES: Mapping[str, str] = {
    "emotional_reactions": "Emotional reactions",
    "interpretations": "Interpretations",
    "explorations": "Explorations",
}

_MEANINGS: Mapping[str, str] = {
    "emotional_reactions": "Does the response express warmth, compassion or concern for the person?",
    "interpretations": (
        "Does the response convey an understanding of feelings or experiences that it infers from the post?"
    ),
    "explorations": "Does the response gently ask about feelings or experiences that the post does not state?",
}

LEVEL_MEANINGS: Mapping[str, Sequence[str]] = {
    "emotional_reactions": (
        "No warmth or concern is put into words; advice or facts alone are none.",
        'It is there without a feeling being named: "Hang in there, things will look up."',
        'The responder names what he or she feels: "I am really sorry that you carry this alone."',
    ),
    "interpretations": (
        "Nothing shows that the responder has understood more than the words.",
        'Understanding is claimed and not spelled out: "I know what you mean."',
        (
            "The feeling or experience is named, or matched by a described one of the responder's own: \"Being passed "
            'over like that must be humiliating."'
        ),
    ),
    "explorations": (
        "Nothing is asked of the person's feelings or experiences.",
        'A question that would fit anybody: "Would you like to say more?"',
        'A question about a feeling or experience of this person: "Are you afraid of how she will answer?"',
    ),
}
"""Mechanism -> what levels 0, 1 and 2 mean."""

STRATEGY_MEANINGS: Mapping[str, str] = {
    "Question": "asks for more about the problem, openly or closed",
    "Restatement or Paraphrasing": "says back what the person said, shorter or in other words",
    "Reflection of feelings": "puts the person's feelings into words",
    "Self-disclosure": "tells of an experience or feeling of one's own that is like the person's",
    "Affirmation and Reassurance": "confirms the person's strength or worth, encourages, gives hope",
    "Providing Suggestions": "suggests what the person could do, without giving orders",
    "Information": "gives facts, sources or answers that help",
    "Others": "greetings, thanks, and support that is none of the above",
}


@dataclass(frozen=True)
class Questions:
    """What is asked of each response.

    Args:
        mechanisms: The mechanisms whose level is asked.
        rationales: Whether annotators mark the parts that are the evidence for a level above none.
        strategies: Whether they name the response's strategy.
    """

    mechanisms: tuple[str, ...] = MECHANISMS
    rationales: bool = True
    strategies: bool = False


def guidelines(questions: Questions) -> str:
    """The guidelines as Markdown.

    Args:
        questions: What is asked.

    Returns:
        One page.
    """
    lines = [
        "# How to annotate",
        "",
        "You see a post by somebody who seeks support, and a response to it. Judge the response as it is written, not",
        "what it may have been meant to do or whether you would have written it. Read the post first. If you are in",
        "doubt between two levels, take the lower one and say why in the comment. Work alone; differences are talked",
        "over after each round. Texts can be distressing: stop when you need to.",
    ]
    for mechanism in questions.mechanisms:
        lines += ["", f"## {TITLES[mechanism]}", "", _MEANINGS[mechanism], ""]
        meanings = zip(LEVEL_NAMES, LEVEL_MEANINGS[mechanism], strict=True)
        lines += [f"- **{level}** ({name}): {meaning}" for level, (name, meaning) in enumerate(meanings)]
    if questions.rationales:
        lines += [
            "",
            "## Rationales",
            "",
            "For each level above none, mark the parts of the response that are the evidence for it: the shortest",
            "parts without which you would have chosen another level, whole words, as many as there are. One part",
            "can be evidence for several mechanisms. At level none mark nothing.",
        ]
    if questions.strategies:
        lines += ["", "## Strategy", "", "Choose what the response does above all; it", ""]
        lines += [f"- **{name}**: {meaning}" for name, meaning in STRATEGY_MEANINGS.items()]
    return "\n".join(lines) + "\n"
