"""Letters: predict the next of 435,000 characters, English prose from PyTorch's own documentation."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from knobs import BadInputError, Count, DataConfig, DataSpec, Split, Splits, part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from knobs import Array

SOURCES = (
    "_torch_docs.py",
    "_tensor_docs.py",
    "functional.py",
    "linalg",
    "nn",
    "optim",
    "distributions",
    "autograd",
    "utils",
    "fx",
    "distributed",
)
"""Files and folders of the package `torch` whose texts are read, in this order."""

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,'-()"
"""A token is a character's position here. Each paragraph is one line."""

LIKE = str.maketrans({'"': "'", ":": ",", ";": ",", "/": "-"})
"""Replacements of characters outside the alphabet. A paragraph with any other such character is left out."""

FEWEST = 60
"""Minimum length of a paragraph; shorter ones are headings or list items."""

PROMPT = "the gradient of the "
SAMPLED = 400
"""Characters that a sample adds to the prompt."""
TEMPERATURE = 0.7
"""Below 1, samples prefer likely characters."""


@part
class Letters(DataConfig):
    """Consecutive windows of a text. At each character the task is to predict the next one from those before it.

    The text is the prose of PyTorch's docstrings: whole paragraphs of sentences, lower-case, without code, mathematics
    and repeated paragraphs. The texts of the standard library (`pydoc_data.topics`) differ between Python versions or
    are too short. This project pins torch to a minor release, and its version is part of a run's identity anyway. The
    splits are contiguous parts of the text, in the order train, val, test.
    """

    batch_size: Count = 32
    """Windows in each optimizer step. The last, incomplete batch of an epoch is left out."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 64
    """Characters in a window. A network starts each window without memory of the one before."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Fraction of the text in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Fraction of the text in the test split."""

    def spec(self) -> DataSpec:
        """Return the spec: `steps` characters as tokens; the next character is the target of each."""
        return DataSpec(
            task="multiclass",
            layout="sequence",
            shape=(self.steps, 1),
            outputs=len(ALPHABET),
            metric="loss",
            tokens=len(ALPHABET),
            per_step=True,
        )

    def files(self) -> list[str]:
        """Return no file: the text is part of PyTorch."""
        return []

    def load(self) -> Splits:
        """Cut the text into three parts, and each part into windows that share no character."""
        tokens = encode(text())
        held, tested = round(self.validation * len(tokens)), round(self.test * len(tokens))
        ends = [0, len(tokens) - held - tested, len(tokens) - tested, len(tokens)]
        train, val, test = (self._windows(tokens[a:b]) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)

    def sample(self, network: nn.Module) -> str:
        """Return a continuation of `PROMPT`, drawn character by character from the network on the last `steps`."""
        import torch

        device = next(network.parameters()).device
        random = torch.Generator().manual_seed(0)
        tokens = [ALPHABET.index(character) for character in PROMPT]
        for _ in range(SAMPLED):
            window = torch.tensor(tokens[-self.steps :], dtype=torch.float32, device=device).view(1, -1, 1)
            scores = network(window)[0, :, -1].cpu().double() / TEMPERATURE
            tokens.append(int(torch.multinomial(scores.softmax(0), 1, generator=random)))
        return "".join(ALPHABET[token] for token in tokens)

    def _windows(self, tokens: Array) -> Split:
        count = (len(tokens) - 1) // self.steps  # the last target is one character further
        if not count:
            raise BadInputError(f"data.steps = {self.steps}: a split has {len(tokens)} characters only")
        inputs = tokens[: count * self.steps].reshape(count, self.steps, 1)
        targets = tokens[1 : count * self.steps + 1].reshape(count, self.steps)
        return Split(inputs.astype(np.float32), targets.astype(np.int64))


def encode(characters: str) -> Array:
    """Return the tokens of a text in the alphabet: (characters,) int64."""
    return np.array([ALPHABET.index(character) for character in characters], dtype=np.int64)


def text() -> str:
    """Return the whole text, one paragraph per line. Read the files of torch without importing it."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    paragraphs: dict[str, None] = {}  # ordered, without duplicates
    for source in SOURCES:
        path = root / source
        files = path.rglob("*.py") if path.is_dir() else [path]
        for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
            for string in _strings(file):
                paragraphs |= dict.fromkeys(_prose(string))
    return "\n".join(paragraphs)


def _strings(path: Path) -> Iterator[str]:
    """The string literals of a module that span lines, in order; most are docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in inner]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.value, str) and "\n" in node.value:
            yield node.value


def _prose(string: str) -> Iterator[str]:
    """The paragraphs of a docstring that are sentences and, without marks of emphasis, in the alphabet."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(string)):
        plain = re.sub(r":(?!math)\w+:`~?\.?([^`<]*?)(?: <[^`]*>)?`", r"\1", " ".join(block.split()))
        plain = plain.replace("`", "").replace("*", "")
        if len(plain) >= FEWEST and plain[0].isupper() and plain.endswith("."):
            small = plain.lower().translate(LIKE)
            if set(small) <= set(ALPHABET):
                yield small
