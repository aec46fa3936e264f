"""Checks of a report on its own runs, by the tuning playbook: what every set of compared runs must satisfy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from knobs.numbers import knob_text
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import Recorded
from knobs.record.runs import RecordedRun
from knobs.record.schema import Kind, Tag, is_test
from knobs.record.states import StateName
from knobs.report.formats.document import Code, Inline, Parts, joined
from knobs.report.receipts import Ledger

WITHOUT_RESULT = (StateName.DIVERGED, StateName.OUT_OF_MEMORY, StateName.FAILED, StateName.LOST)
"""States of runs that ended without a result; pruned runs ended as planned."""

MOST_LINES = 6
"""Oddities of the data that are listed."""

MANY = 0.1
"""If a larger share of the runs has no result, those that have one are a selection."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, in words for the reader."""

    name: str
    fine: bool
    parts: Parts


@dataclass(frozen=True)
class Tuning:
    """The trials that tuned something, and the chosen one of each repetition."""

    name: str
    trials: Sequence[RecordedRun]
    winners: Sequence[RecordedRun]
    space: Mapping[str, KnobRange]
    group: str
    """The ledger's group of the trials."""


def check_edges(tunings: Sequence[Tuning], ledger: Ledger) -> Finding:
    """Check that chosen values do not lie at the edge of their range: better ones may lie outside.

    With several repetitions, a knob is named if most winners lie at the same edge.
    """
    found: list[Parts] = []
    for tuning in tunings:
        for name, knob in sorted(tuning.space.items()):
            chosen = [winner.chosen[name] for winner in tuning.winners if name in winner.chosen]
            sides = Counter(side for value in chosen if (side := knob.edge(value)))
            side, count = sides.most_common(1)[0] if sides else ("", 0)
            if 2 * count <= len(chosen):
                continue
            value = sorted(value for value in chosen if knob.edge(value) == side)[(count - 1) // 2]
            how = f"{name} of the best trial" if len(chosen) == 1 else f"median {name} of the winners at the edge"
            shown = ledger.number(
                f"review/edge/{tuning.name}/{name}", float(value), tuning.group, how, knob_text(float(value), 3)
            )
            place = f" lies at the {side} edge of {knob.text}"
            of = f" ({count} of {len(chosen)} winners)" if len(chosen) > 1 else ""
            found.append([f"{tuning.name}: ", Code(name), " = ", shown, place, of])
    title = "Best values inside their spaces"
    if not found:
        return Finding(title, True, ["no tuned value lies within 5% of an end of its space."])
    return Finding(title, False, ["a better value may lie outside. ", *joined(found, "; "), "."])


def check_lost_runs(groups: Sequence[tuple[str, Sequence[RecordedRun]]], ledger: Ledger) -> Finding:
    """Check that few runs of each group ended without a result. `groups` are groups of the ledger."""
    found: list[Parts] = []
    for name, runs in groups:
        lost = sum(run.state in WITHOUT_RESULT for run in runs)
        if runs and lost / len(runs) > MANY:
            key = f"review/lost/{name}"
            parts: list[Inline] = [
                f"{name}: ",
                ledger.number(f"{key}/lost", lost, name, "runs that diverged or failed"),
                " of ",
                ledger.number(f"{key}/all", len(runs), name, "runs"),
            ]
            found.append(parts)
    title = "Few runs diverged"
    if not found:
        return Finding(title, True, ["in no group did more than a tenth of the runs diverge or fail."])
    return Finding(title, False, ["the runs that finished are a selection. ", *joined(found), "."])


def check_test_split(recorded: Recorded) -> Finding:
    """Check that no search read the test split: it is for `run`, a study's winner and an ablation's fresh seeds."""
    loaded = {run.row.id: run.row for run in recorded.runs if any(map(is_test, run.row.metrics))}
    readers = {**loaded, **{row.id: row for row in recorded.test_readers}}
    wrong = sorted(
        f"{row.name} ({row.kind or 'unknown kind'})"
        for row in readers.values()
        if row.kind not in (Kind.RUN, Kind.SEED, Kind.REPRODUCTION)
        and not (row.kind in (Kind.TRIAL, Kind.REPLICATE) and Tag.WINNER in row.tags)
    )
    title = "Test split read at the end only"
    if not wrong:
        return Finding(title, True, ["only single runs, winners of studies and fresh seeds read it."])
    return Finding(title, False, [f"{len(wrong)} other runs read it: {', '.join(wrong[:5])}."])


COMPARED: Mapping[str, Callable[[RecordedRun], str]] = {
    "code versions": lambda run: run.tag(Tag.CODE),
    "data": lambda run: run.tag(Tag.DATA),
    "torch versions": lambda run: run.tag(Tag.TORCH),
    "package sets": lambda run: run.tag(Tag.PACKAGES),
    "thread counts": lambda run: run.tag(Tag.THREADS),
    "devices": lambda run: run.tag(Tag.DEVICE_NAME) or run.tag(Tag.DEVICE),
    "instruction sets": lambda run: run.tag(Tag.CPU_CAPABILITY),
    "machines": lambda run: run.tag(Tag.MACHINE),
}
"""Facts that compared runs must share."""


def check_same_provenance(runs: Sequence[RecordedRun], ledger: Ledger) -> Finding:
    """Check that compared runs share one code, one set of versions, one thread count and one kind of device."""
    found: list[Parts] = []
    for fact, read in COMPARED.items():
        values = _differing_values(fact, runs, read)
        if len(values) > 1:
            texts: list[Parts] = []
            for value, count in sorted(values.items()):
                key = f"review/mixed/{fact}/{value}"
                shown = ledger.number(key, count, "all runs", f"runs with this of several {fact}")
                texts.append([Code(value[:12] or "unknown"), " (", shown, " runs)"])
            found.append([f"{fact}: ", *joined(texts)])
    title = "One code, one machine, one thread count"
    if not found:
        return Finding(title, True, ["all runs share code, data, packages, thread count, device and machine."])
    return Finding(title, False, ["compared runs differ in more than their knobs. ", *joined(found, "; "), "."])


def check_data(runs: Sequence[RecordedRun]) -> Finding:
    """Check that nothing about the arrays was odd when they were loaded: leaks, empty classes, wild scales."""
    found: dict[str, None] = {}
    for run in runs:
        for line in run.tag(Tag.DATA_WARNINGS).splitlines():
            found[f"{run.row.params.get('data.kind', 'data')}: {line}"] = None
    title = "Nothing odd about the data"
    if not found:
        return Finding(title, True, ["no leak, empty class, constant feature or wild scale was noticed."])
    more = f"; and {len(found) - MOST_LINES} more" if len(found) > MOST_LINES else ""
    return Finding(title, False, ["; ".join([*found][:MOST_LINES]), more, "."])


def check_proven(runs: Sequence[RecordedRun]) -> Finding:
    """Check that everything that determines the runs is known: nothing was read that nobody could note."""
    found = Counter(run.tag(Tag.UNPROVEN) for run in runs if run.tag(Tag.UNPROVEN))
    title = "All that determines a run is known"
    if not found:
        return Finding(title, True, ["no run read anything that its record does not name."])
    texts = [f"{number} runs: {reason}" for reason, number in found.most_common(MOST_LINES)]
    return Finding(title, False, [f"the record may lack something that changes the values. {'; '.join(texts)}."])


def check_committed(runs: Sequence[RecordedRun]) -> Finding:
    """Check that the code of all runs is in a commit: others cannot fetch any other code."""
    diffs = {run.tag(Tag.DIFF) for run in runs if run.tag(Tag.DIRTY) == "true"}
    none = sum(run.tag(Tag.COMMIT) in ("", "none") for run in runs)
    title = "Code is in a commit"
    if none:
        return Finding(title, False, [f"{none} runs were made outside of a repository: their code is known by hash."])
    if diffs:
        several = f" in {len(diffs)} ways" if len(diffs) > 1 else ""
        kept = f"the working tree differed from its commit{several}"
        return Finding(title, False, [kept, "; the diffs are kept with the runs, the code hash shows which code ran."])
    return Finding(title, True, ["every run was made from a clean commit."])


def order_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, those that need a look first."""
    return sorted(findings, key=lambda finding: finding.fine)


def _differing_values(fact: str, runs: Sequence[RecordedRun], read: Callable[[RecordedRun], str]) -> dict[str, int]:
    """Return each value of a fact with the number of runs that have it, if runs that must share it differ.

    Code is compared among runs of one model and data set, data among runs with the same data knobs.
    """
    counts: dict[object, Counter[str]] = {}
    for run in runs:
        params = run.row.params
        of_data = sorted(knob for knob in params.items() if knob[0].startswith("data."))
        alike = {"code versions": (params.get("model.kind"), params.get("data.kind")), "data": tuple(of_data)}
        counts.setdefault(alike.get(fact), Counter())[read(run)] += 1
    several = [within for within in counts.values() if len(within) > 1]
    return {value: count for within in several for value, count in within.items()}
