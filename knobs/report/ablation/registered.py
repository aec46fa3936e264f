"""Say in a report when an ablation's design was recorded, and how often its claims were decided."""

from __future__ import annotations

from datetime import UTC, datetime

from knobs.record.recorded_ablation import RecordedAblation
from knobs.report.checks import Finding
from knobs.report.formats.document import Code, Inline, Parts, joined

MOST_CHANGES = 12
"""Changes of the design that a report lists."""


def registered_when(ablation: RecordedAblation) -> str:
    """Return when the design was recorded: before the first run, or changed after N runs."""
    registration = ablation.registration
    if registration is None:
        return "recorded at an unknown time"
    if registration.revisions:
        return f"changed after {registration.revisions[0].runs} runs had begun"
    return f"recorded before the first run on {_day(registration.time_ms)}"


def check_registration(ablation: RecordedAblation) -> Finding:
    """Check that claims, factors, spaces, budget and metric are those that were recorded before the first run."""
    title, registration = "Design as recorded before the first run", ablation.registration
    if registration is None:
        return Finding(title, False, ["the record does not say when the design was written."])
    if not registration.revisions:
        return Finding(title, True, [f"recorded on {_day(registration.time_ms)}, unchanged since."])
    found: list[Parts] = []
    for revision in registration.revisions:
        names: list[Parts] = [[Code(change)] for change in revision.changes[:MOST_CHANGES]]
        more = len(revision.changes) - MOST_CHANGES
        rest: list[Inline] = [f" and {more} more"] if more > 0 else []
        found.append([f"after {revision.runs} runs, on {_day(revision.time_ms)}: ", *joined(names, ", "), *rest])
    return Finding(title, False, ["it was changed after results could be seen. ", *joined(found, "; "), "."])


def check_looks(ablation: RecordedAblation) -> Finding:
    """Check that claims were decided once or at planned looks: to add runs until one holds makes chance likelier."""
    title, registration = "Claims decided as planned", ablation.registration
    looks, planned = registration.looks if registration else (), ablation.definition.looks
    if planned and len(looks) <= len(planned):
        taken = ", ".join(map(str, ablation.looked)) or "none yet"
        text = f"looks were planned after {', '.join(map(str, planned))} repetitions, and taken: {taken}"
        return Finding(title, True, [f"{text}; the level of the tests holds over all of them."])
    if len(looks) < 2:
        return Finding(title, True, ["no seed was added or replaced after the claims had been decided."])
    counts = ", ".join(f"{_seeds_a_cell(list(look.seeds.values()))} on {_day(look.time_ms)}" for look in looks)
    text = f"they were decided {len(looks)} times, with seeds a cell: {counts}; the level of the tests does not hold."
    return Finding(title, False, [text])


def _seeds_a_cell(seeds: list[list[int]]) -> str:
    counts = sorted({len(found) for found in seeds})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date().isoformat()
