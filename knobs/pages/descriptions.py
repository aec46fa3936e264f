"""Descriptions in MLflow's pages: written by us, unless somebody edited them by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from knobs.record.schema import MlflowTag, bounded


def note_tags(text: str) -> dict[str, str]:
    """Return the tags that set a description and mark it as ours."""
    shown = bounded(text)
    return {MlflowTag.NOTE: shown, MlflowTag.NOTE_HASH: _hash(shown)}


def note_tags_unless_edited(tags: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the tags that set a description; empty if it is there already or somebody edited it by hand."""
    old = tags.get(MlflowTag.NOTE, "")
    if not text or old == bounded(text) or (old and tags.get(MlflowTag.NOTE_HASH) != _hash(old)):
        return {}
    return note_tags(text)


def paragraphs(*texts: str) -> str:
    """Join the texts that are not empty as Markdown paragraphs."""
    return "\n\n".join(text for text in texts if text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
