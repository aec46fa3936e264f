"""The verdicts on an ablation's claims as they are recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from knobs.ablation import ClaimVerdict

WORDS = ("supported", "contradicted", "undecided")


@dataclass(frozen=True, kw_only=True)
class RecordedVerdict:
    """What was decided on one claim. The numbers are None if there was nothing to test."""

    claim: str
    verdict: str
    """One of `WORDS`, or `open` before anything was decided."""
    note: str = ""
    effect: float | None = None
    interval: tuple[float, float] | None = None
    """95% interval of the effect."""
    p: float | None = None
    """Corrected for all claims together."""
    p_uncorrected: float | None = None
    n: int | None = None
    """Seeds, paired."""
    needed_more_seeds: int | None = None
    """Seeds to add for power 0.8, if the claim is undecided."""
    look: int = 1
    """How often the claims had been decided on other runs, this time included."""

    @classmethod
    def of(cls, decided: ClaimVerdict, *, look: int = 1) -> RecordedVerdict:
        """Return a verdict as it is recorded."""
        made = decided.result
        if made is None:
            return cls(claim=decided.claim.text, verdict=decided.verdict, note=decided.note, look=look)
        return cls(
            claim=decided.claim.text,
            verdict=decided.verdict,
            note=decided.note,
            effect=made.effect,
            interval=made.interval,
            p=made.p,
            p_uncorrected=made.p_uncorrected,
            n=made.n,
            needed_more_seeds=made.needed_more_seeds,
            look=look,
        )


def verdicts_to_json(verdicts: Sequence[RecordedVerdict]) -> str:
    """Return the text of the artifact `verdicts.json`."""
    return json.dumps([asdict(verdict) for verdict in verdicts], indent=1)


def verdicts_from_json(text: str) -> list[RecordedVerdict]:
    """Return what `verdicts_to_json` wrote; empty if it cannot be read."""
    try:
        return TypeAdapter(list[RecordedVerdict]).validate_json(text)
    except ValidationError:
        return []


def count_verdicts(verdicts: Sequence[RecordedVerdict]) -> str:
    """Return the verdicts in one line: `2 supported, 1 undecided`."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
