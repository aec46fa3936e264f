"""The search spaces of recorded trials, kept once per space and named by their hash.

A trial's values are knobs of its run. Its space is an artifact of the study's or cell's run, since forty distributions
do not fit into a tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from knobs.config import as_tuple
from knobs.errors import StoreError
from knobs.provenance import short_hash
from knobs.record.schema import Artifact, Tag
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

Distributions = dict[str, BaseDistribution]


def space_to_json(distributions: Mapping[str, BaseDistribution]) -> str:
    """Return a space as JSON: the distribution of each knob, in the order in which the space suggests them."""
    return json.dumps({name: json.loads(distribution_to_json(d)) for name, d in distributions.items()})


def space_from_json(text: str) -> Distributions:
    """Return the space that `space_to_json` wrote."""
    return {name: _distribution(entry) for name, entry in json.loads(text).items()}


def _distribution(entry: dict[str, Any]) -> BaseDistribution:
    """Return the distribution with this JSON. JSON knows no tuples: a list among its choices is one."""
    if choices := entry["attributes"].get("choices"):
        return CategoricalDistribution(as_tuple(choices))
    return json_to_distribution(json.dumps(entry))


def space_file(key: str) -> str:
    """Return the artifact that holds the space with this hash."""
    return f"{Artifact.SPACES}/{key}.json"


class SpaceStore:
    """The spaces of one study or cell, read and written once each."""

    def __init__(self, tracker: Tracker, owner: str) -> None:
        self.tracker, self.owner = tracker, owner
        self._known: dict[str, Distributions] = {}

    def key(self, distributions: Mapping[str, BaseDistribution]) -> str:
        """Return the hash of a space; store the space if it is new."""
        text = space_to_json(distributions)
        key = short_hash(text)
        if key not in self._known:
            self.tracker.upload_texts(self.owner, {space_file(key): text})
            self._known[key] = dict(distributions)
        return key

    def space(self, row: Row) -> Distributions:
        """Return the space of a recorded trial. Raise `StoreError` if its artifact is gone."""
        found = self.find(row)
        if found is None:
            file = space_file(row.tags[Tag.SPACE])
            raise StoreError(
                f"the search space of trial {row.name} (run {row.id}) is gone: {file}; "
                f"launch its study or ablation again to write it"
            )
        return found

    def find(self, row: Row) -> Distributions | None:
        """Return the space of a recorded trial; None if its artifact is gone."""
        key = row.tags[Tag.SPACE]
        if key not in self._known:
            text = self.tracker.text(self.owner, space_file(key))
            if text is None:
                return None
            self._known[key] = space_from_json(text)
        return self._known[key]

    def names(self, rows: Iterable[Row]) -> list[str]:
        """Return the knobs that the search varied in any of these trials, in the order of the trials' knobs.

        Trials whose space is gone are left out.
        """
        searched = [(row, self.find(row) or {}) for row in rows if Tag.SPACE in row.tags]
        return list(dict.fromkeys(name for row, space in searched for name in row.params if name in space))
