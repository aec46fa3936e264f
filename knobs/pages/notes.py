"""Descriptions of studies and ablations in Markdown, which MLflow's pages show beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from knobs.numbers import metric_text, p_text, signed_text
from knobs.pages.descriptions import paragraphs
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_study import RecordedStudy
from knobs.record.schema import Metric, Tag
from knobs.record.stores.rows import Row
from knobs.record.verdicts import RecordedVerdict


def study_note(study: RecordedStudy, links: Mapping[str, str], report: Path | None) -> str:
    """Return a study's description: question, best value so far, links, command, and its report if there is one."""
    best, trials = best_so_far(study), len(study.trials)
    result = f"Best so far: {best}." if best else f"{trials} trials, none finished."
    return paragraphs(study.definition.about.strip(), result, _confirmed(study), *_further(study.parent, links, report))


def _confirmed(study: RecordedStudy) -> str:
    """Return the winner's mean over fresh seeds in a sentence; empty if there are none."""
    found = next((one for one in study.confirmations if one.mean is not None), None)
    if found is None or found.mean is None:
        return ""
    value, low, high = (metric_text(float(number)) for number in (found.mean.value, found.mean.low, found.mean.high))
    return f"On {len(found.values)} fresh seeds: {found.metric} {value} [{low}, {high}]."


def ablation_note(ablation: RecordedAblation, links: Mapping[str, str], report: Path | None) -> str:
    """Return an ablation's description: question, claim, verdicts so far, links, command, and its report.

    A claim that has not been decided is listed as open.
    """
    definition = ablation.definition
    verdicts = ablation.verdicts or [RecordedVerdict(claim=c.text, verdict="open") for c in definition.claims]
    claims = "\n".join(f"- **{v.verdict}**: {_one_line(v.claim)}{_numbers(v)}" for v in verdicts)
    claim = f"*{_one_line(definition.claim)}*" if definition.claim else ""
    further = _further(ablation.parent, links, report)
    return paragraphs(definition.question, claim, f"{standing(ablation)}.", claims, *further)


def best_so_far(study: RecordedStudy) -> str:
    """Return a study's best value in one line: `val/accuracy 0.9812, t007 of 20 trials`; empty if none finished."""
    value = study.parent.metrics.get(Metric.BEST + study.metric)
    number = int(study.parent.tags.get(Tag.BEST_TRIAL, "0"))
    return "" if value is None else f"{study.metric} {metric_text(value)}, t{number:03d} of {len(study.trials)} trials"


def standing(ablation: RecordedAblation) -> str:
    """Return an ablation's verdicts and progress in one line."""
    return f"{ablation.parent.tags.get(Tag.VERDICTS) or 'Nothing decided yet'}; {ablation.progress}"


def _numbers(verdict: RecordedVerdict) -> str:
    if verdict.effect is None or verdict.interval is None or verdict.p is None:
        return ""
    low, high = verdict.interval
    effect = f"effect {signed_text(verdict.effect)}, 95% [{signed_text(low)}, {signed_text(high)}]"
    return f" ({effect}, p {p_text(verdict.p)}, n {verdict.n})"


def _further(parent: Row, links: Mapping[str, str], report: Path | None) -> tuple[str, str, str]:
    """Return the links, the command that repeats the launch, and the path of the report."""
    look = " · ".join(f"[{title}]({address})" for title, address in links.items())
    command = parent.tags.get(Tag.COMMAND, "")
    return look, command and f"`{command}`", f"Report: `{report}`" if report else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
