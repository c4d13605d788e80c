"""What an audit found, before it is a page: sections of text, tables and figures, and the numbers by key."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from metrics.estimates import Estimate
from pages import Table, markdown_table

__all__ = ["Check", "Figure", "Report", "Section"]


@dataclass
class Figure:
    """A picture as SVG.

    Args:
        title: What it shows.
        svg: The element.
        note: How to read it; also its text for those who can't see it.
    """

    title: str
    svg: str
    note: str


@dataclass
class Section:
    """A part of the report.

    Args:
        title: Its heading.
        text: What is asked and what came out, a paragraph an entry.
        blocks: Tables and figures.
    """

    title: str
    text: list[str] = field(default_factory=list)
    blocks: list[Table | Figure] = field(default_factory=list)


@dataclass
class Check:
    """One condition of the export gate.

    Args:
        name: What is checked.
        passed: Whether it holds; None: it could not be measured, which doesn't pass.
        found: What was found, in words without any row's text.
        wanted: What is wanted.
    """

    name: str
    passed: bool | None
    found: str
    wanted: str

    @property
    def outcome(self) -> str:
        """`passed`, `failed` or `not measured`."""
        return {True: "passed", False: "failed", None: "not measured"}[self.passed]


@dataclass
class Report:
    """All that an audit found.

    Args:
        title: Heading of the page.
        facts: What was audited and how: name -> value, shown at the top.
        summary: What matters most: what is meant -> what was found.
        sections: The parts.
        values: Key such as `quality/responses/self_bleu` -> number.
        checks: The gate's conditions.
        sha256: The audited rows, by `audit.rows.file_digest`.
        gated: Whether rows were made from prompts with clinical text, so that the checks decide about their export.
    """

    title: str
    facts: dict[str, str]
    summary: list[tuple[str, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    values: dict[str, Estimate] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    sha256: str = ""
    gated: bool = False

    @property
    def passed(self) -> bool:
        """Whether the rows may leave: there are checks, and all hold."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """What the checks come to, in words."""
        failed = sum(not check.passed for check in self.checks)
        count = f"{failed} of {len(self.checks)} checks not passed" if failed else "all checks passed"
        if self.gated:
            return f"Export gate {'closed' if failed else 'open'}: {count}"
        return f"Privacy: {count}. No row says that its prompt held clinical text, so the gate lets these rows go."

    def to_dict(self) -> dict[str, Any]:
        """The numbers and the checks."""
        return {
            "sha256": self.sha256,
            "passed": self.passed,
            "facts": self.facts,
            "checks": [asdict(check) for check in self.checks],
            "values": {key: value._asdict() for key, value in self.values.items()},
        }

    def to_markdown(self) -> str:
        """The report without its figures."""
        lines = [f"# {self.title}", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += ["", "## In short", ""]
        lines += [f"- **{name}**: {found}" for name, found in self.summary]
        checks = [[check.name, check.outcome, check.found, check.wanted] for check in self.checks]
        lines += ["", self.verdict, "", *markdown_table(Table("", ["check", "", "found", "wanted"], checks), _cell)]
        for section in self.sections:
            lines += ["", f"## {section.title}"]
            for paragraph in section.text:
                lines += ["", paragraph]
            tables = {block.title for block in section.blocks if isinstance(block, Table)}
            for block in section.blocks:
                if isinstance(block, Table):
                    lines += ["", f"### {block.title}", "", *markdown_table(block, _cell)]
                elif block.title not in tables:
                    lines += ["", f"### {block.title}", "", f"(figure on the page) {block.note}"]
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
