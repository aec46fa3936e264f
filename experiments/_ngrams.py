"""N-gram counts as a model of text: bits per character, with order and discount chosen on the validation split."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from knobs import DataConfig, Split

Array = np.ndarray[Any, np.dtype[Any]]

DISCOUNTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Counts:
    """Counts of all contexts of one length and of the tokens that follow them."""

    contexts: Array
    """Sorted. A context is a number whose digits are its tokens."""
    totals: Array
    """Occurrences of each context."""
    kinds: Array
    """Number of different tokens after each context."""
    grams: Array
    """Context and next token as one number. Sorted."""
    times: Array
    """Occurrences of each gram."""


def count(tokens: Array, length: int, vocabulary: int) -> Counts:
    """Count the contexts of `length` tokens and the tokens that follow them. tokens: (n,)."""
    before = _keys(np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[:, :length], vocabulary)
    grams, times = np.unique(before * vocabulary + tokens[length:], return_counts=True)
    contexts, first = np.unique(grams // vocabulary, return_index=True)
    return Counts(contexts, np.add.reduceat(times, first), np.diff([*first, len(grams)]), grams, times)


def bits(split: Split, counts: list[Counts], discount: float, vocabulary: int) -> float:
    """Return the bits per token of a split's windows, by interpolated absolute discounting (Ney, Essen & Kneser 1994).

    p(c | h) = (max(N(hc) - D, 0) + D T(h) p(c | h')) / N(h). T(h) is the number of different tokens after h, and h' is
    h without its oldest token. Like a network, a context sees only tokens of its own window.
    """
    x, y = split.x[..., 0].astype(np.int64), split.y
    p = np.full(y.shape, 1.0 / vocabulary)
    for length, known in enumerate(counts):
        if length > x.shape[1]:
            break
        where = slice(max(0, length - 1), None)  # positions with enough tokens before them
        views = np.lib.stride_tricks.sliding_window_view(x, max(1, length), axis=1)
        context = _keys(views, vocabulary) if length else np.zeros_like(x)
        target, lower = y[:, where], p[:, where]
        total, kinds = (_look_up(known.contexts, values, context) for values in (known.totals, known.kinds))
        times = _look_up(known.grams, known.times, context * vocabulary + target)
        mixed = (np.maximum(times - discount, 0.0) + discount * kinds * lower) / np.maximum(total, 1)
        p[:, where] = np.where(total > 0, mixed, lower)
    return float(-np.log2(p).mean())


@functools.cache
def best_of(data: DataConfig, highest: int) -> tuple[float, int, float]:
    """Return the bits per token on the test split, with order (up to `highest`) and discount chosen on validation."""
    splits, vocabulary = data.load(), data.spec().tokens
    train = splits.train
    tokens = np.append(train.x[..., 0].astype(np.int64).ravel(), train.y[-1, -1])  # windows are consecutive
    counts = [count(tokens, length, vocabulary) for length in range(highest)]
    tried = [
        (bits(splits.val, counts[:order], discount, vocabulary), order, discount)
        for order in range(1, highest + 1)
        for discount in DISCOUNTS
    ]
    _, order, discount = min(tried)
    return bits(splits.test, counts[:order], discount, vocabulary), order, discount


def _keys(windows: Array, vocabulary: int) -> Array:
    """Return each window of tokens as a number: (..., length) to (...)."""
    powers = vocabulary ** np.arange(windows.shape[-1] - 1, -1, -1, dtype=np.int64)
    return np.asarray(windows @ powers)


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """Return the value of each wanted key, or 0 if it is not among the sorted keys."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
