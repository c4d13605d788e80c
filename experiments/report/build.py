"""All parts of a report, in the order in which a reader needs them."""

from __future__ import annotations

from experiments.report.answer import answer
from experiments.report.behaviour import behaviour_section
from experiments.report.dialogues import responder_answers, responder_sections
from experiments.report.document import Document
from experiments.report.gather import gather
from experiments.report.planned import planned_sections
from experiments.report.published import published_section
from experiments.report.record import caveats, facts, record_section
from experiments.report.runs import Experiment
from experiments.report.series_section import series_section

__all__ = ["build"]


def build(experiments: list[Experiment], title: str | None, resamples: int, examples: int) -> Document:
    """Puts the report together.

    Args:
        experiments: What was read.
        title: Its heading; None: the experiments' titles.
        resamples: Draws of the bootstrap.
        examples: Rationales to show of each mechanism.
    """
    series = gather(experiments, resamples)
    document = Document(
        title=title or "; ".join(dict.fromkeys(experiment.title for experiment in experiments)),
        facts=facts(experiments),
        answers=[*(answer(each) for each in series), *responder_answers(experiments)],
        caveats=caveats(experiments),
    )
    document.sections += [series_section(each, number) for number, each in enumerate(series, 1)]
    document.sections += responder_sections(experiments) + planned_sections(experiments)
    if beside := published_section(series):
        document.sections.append(beside)
    document.sections += [behaviour_section(each, number, examples) for number, each in enumerate(series, 1)]
    document.sections.append(record_section(experiments))
    return document
