"""The report checks its own runs by the tuning playbook, in plain words: what any set of compared runs must satisfy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from knobs.report.document import Code, Inline, Parts, joined
from knobs.report.receipts import Ledger
from knobs.report.record import Ran, Record
from knobs.report.space import Knob

DIVERGED = ("diverged", "out_of_memory", "failed", "lost")
MANY_DIVERGED = 0.1
"""Share of runs without a result from which on they may decide the answer."""


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, and what a reader should know."""

    name: str
    fine: bool
    parts: Parts


@dataclass(frozen=True)
class Tuned:
    """What was tuned: the trials and the one that was chosen."""

    name: str
    trials: Sequence[Ran]
    winner: Ran | None
    space: Mapping[str, Knob]
    group: str
    """Of the trials, in the ledger."""


def edges(every: Sequence[Tuned], ledger: Ledger) -> Finding:
    """A best value at the edge of its space says that better ones may lie outside."""
    found: list[Parts] = []
    for tuned in every:
        for name, value in sorted((tuned.winner.asked[0] if tuned.winner else {}).items()):
            knob = tuned.space[name]
            if side := knob.edge(value):
                key = f"review/edge/{tuned.name}/{name}"
                shown = ledger.number(key, float(value), tuned.group, f"{name} of the best trial", f"{value:.3g}")
                where = f" lies at the {side} edge of {knob.text}"
                found.append([f"{tuned.name}: ", Code(name), " = ", shown, where])
    name = "Best values inside their spaces"
    if not found:
        return Finding(name, True, ["no tuned value lies within 5% of an end of its space."])
    return Finding(name, False, ["a better value may lie outside. ", *joined(found, "; "), "."])


def without_result(every: Sequence[tuple[str, Sequence[Ran]]], ledger: Ledger) -> Finding:
    """Many runs without a result make the rest a selection; `every` are groups of the ledger."""
    found: list[Parts] = []
    for name, runs in every:
        lost = sum(run.state in DIVERGED for run in runs)
        if runs and lost / len(runs) > MANY_DIVERGED:
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
    return Finding(title, False, ["what finished is a selection. ", *joined(found), "."])


def test_split(record: Record, runs: Sequence[Ran]) -> Finding:
    """The test split is for `run`, a study's winner and an ablation's fresh seeds; a search must never see it."""
    loaded = {run.row.id: run.row for run in runs if any(name.startswith("test/") for name in run.row.metrics)}
    readers = {**loaded, **{row.id: row for row in record.test_readers}}
    wrong = sorted(
        f"{row.name} ({kind or 'unknown kind'})"
        for row in readers.values()
        if (kind := row.tags.get("knobs.kind", "")) not in ("run", "seed", "reproduction")
        and not (kind == "trial" and "knobs.winner" in row.tags)
    )
    title = "Test split read at the end only"
    if not wrong:
        return Finding(title, True, ["only single runs, winners of studies and fresh seeds read it."])
    return Finding(title, False, [f"{len(wrong)} other runs read it: {', '.join(wrong[:5])}."])


COMPARED: Mapping[str, Callable[[Ran], str]] = {
    "code versions": lambda run: run.tag("code"),
    "data": lambda run: run.tag("data_fingerprint"),
    "torch versions": lambda run: run.tag("torch"),
    "package sets": lambda run: run.tag("packages"),
    "thread counts": lambda run: run.tag("threads"),
    "devices": lambda run: run.tag("device_name") or run.tag("device"),
    "instruction sets": lambda run: run.tag("cpu_capability"),
    "machines": lambda run: run.tag("machine"),
}


def mixed(runs: Sequence[Ran], ledger: Ledger) -> Finding:
    """Compared runs must come from one code, one set of versions, one thread count, one kind of device."""
    found: list[Parts] = []
    for what, read in COMPARED.items():
        values = _apart(what, runs, read)
        if len(values) > 1:
            texts: list[Parts] = []
            for value, count in sorted(values.items()):
                key = f"review/mixed/{what}/{value}"
                shown = ledger.number(key, count, "all runs", f"runs with this of several {what}")
                texts.append([Code(value[:12] or "unknown"), " (", shown, " runs)"])
            found.append([f"{what}: ", *joined(texts)])
    title = "One code, one machine, one thread count"
    if not found:
        return Finding(title, True, ["all runs share code, data, packages, thread count, device and machine."])
    return Finding(title, False, ["compared runs differ in more than their knobs. ", *joined(found, "; "), "."])


def uncommitted(runs: Sequence[Ran]) -> Finding:
    """Code that is in no commit cannot be fetched by others."""
    diffs = {run.tag("diff") for run in runs if run.tag("git_dirty") == "true"}
    none = sum(run.tag("git_commit") in ("", "none") for run in runs)
    title = "Code is in a commit"
    if none:
        return Finding(title, False, [f"{none} runs were made outside of a repository: their code is known by hash."])
    if diffs:
        several = f" in {len(diffs)} ways" if len(diffs) > 1 else ""
        kept = f"the working tree differed from its commit{several}"
        return Finding(title, False, [kept, "; the diffs are kept with the runs, the code hash tells which code ran."])
    return Finding(title, True, ["every run was made from a clean commit."])


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """What needs a look first."""
    return sorted(findings, key=lambda finding: finding.fine)


def _apart(what: str, runs: Sequence[Ran], read: Callable[[Ran], str]) -> dict[str, int]:
    """Values and how many runs have each; code is compared among runs of one model and data set, data among those
    with the same knobs of it.
    """
    counts: dict[object, Counter[str]] = {}
    for run in runs:
        params = run.row.params
        of_data = sorted(knob for knob in params.items() if knob[0].startswith("data."))
        alike = {"code versions": (params.get("model.kind"), params.get("data.kind")), "data": tuple(of_data)}
        counts.setdefault(alike.get(what), Counter())[read(run)] += 1
    several = [within for within in counts.values() if len(within) > 1]
    return {value: count for within in several for value, count in within.items()}
