"""A report before it is a page: sections of text, tables, pictures and examples; and the same as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field

from pages import Table, markdown_table

__all__ = ["Answer", "Details", "Document", "Example", "Examples", "Picture", "Section", "markdown"]


@dataclass
class Picture:
    """A figure in both formats.

    Args:
        name: Its files' name, without a suffix.
        title: What it shows.
        alt: What is to be seen, for those who can't.
        note: How to read it.
        svg: For the page and for print.
        png: For slides.
    """

    name: str
    title: str
    alt: str
    note: str
    svg: bytes
    png: bytes = b""


@dataclass
class Example:
    """A response with its rationales.

    Args:
        head: Mechanism, levels, scores.
        seeker: The post that is answered.
        response: The response.
        gold: Annotated spans of characters, end exclusive.
        predicted: Predicted spans.
    """

    head: str
    seeker: str
    response: str
    gold: list[tuple[int, int]]
    predicted: list[tuple[int, int]]


@dataclass
class Examples:
    """Examples under a heading."""

    title: str
    examples: list[Example]
    note: str


@dataclass
class Details:
    """Something long that is folded away: its name and its text as it stands."""

    title: str
    text: str


Block = Table | Picture | Examples | Details


@dataclass
class Section:
    """A part of the report.

    Args:
        title: Its heading.
        text: Paragraphs.
        blocks: What follows them.
    """

    title: str
    text: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Answer:
    """A question answered.

    Args:
        head: The whole in a sentence.
        details: What it rests on, a sentence or two an entry.
    """

    head: str
    details: list[str] = field(default_factory=list)


@dataclass
class Document:
    """The whole.

    Args:
        title: Its heading.
        facts: What was run: name -> value.
        answers: What came out.
        caveats: What every reader has to know beside it.
        sections: The parts.
    """

    title: str
    facts: dict[str, str]
    answers: list[Answer] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def pictures(self) -> list[Picture]:
        """All figures."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]


def markdown(document: Document) -> str:
    """The report as Markdown; figures are links to their files."""
    lines = [f"# {_text(document.title)}", ""]
    lines += [f"**{_text(caveat)}**\n" for caveat in document.caveats]
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in document.facts.items()]
    lines += ["", "## The answer", ""]
    for answer in document.answers:
        lines += [f"**{_text(answer.head)}**", "", *(f"- {_text(detail)}" for detail in answer.details), ""]
    for section in document.sections:
        lines += ["", f"## {_text(section.title)}"]
        for paragraph in section.text:
            lines += ["", _text(paragraph)]
        for block in section.blocks:
            lines += ["", f"### {_text(block.title)}", "", *_lines(block)]
    return "\n".join(lines) + "\n"


def _lines(block: Block) -> list[str]:
    if isinstance(block, Table):
        return markdown_table(block, _cell)
    if isinstance(block, Picture):
        return [f"![{_text(block.alt)}](figures/{block.name}.svg)", "", _text(block.note)]
    if isinstance(block, Details):
        return ["```text", block.text.replace("```", "'''"), "```"]
    return [_text(block.note), *(f"- {_text(_example(each))}" for each in block.examples)]


def _example(example: Example) -> str:
    said = " / ".join(f"“{example.response[start:end]}”" for start, end in example.predicted) or "nothing"
    meant = " / ".join(f"“{example.response[start:end]}”" for start, end in example.gold) or "nothing"
    return f"{example.head}: “{example.response}” Predicted: {said}. Annotated: {meant}."


def _text(text: str) -> str:
    """Text that Markdown takes as text."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in flat)


def _cell(text: str) -> str:
    return _text(text) or " "
