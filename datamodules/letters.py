"""Letters: the next character of 435,000, English prose from PyTorch's own documentation."""

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

from knobs.config import Count, DataConfig, part
from knobs.data import DataSpec, Split, Splits
from knobs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from knobs.data import Array

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
"""A token is a character's place in this; one paragraph a line."""

LIKE = str.maketrans({'"': "'", ":": ",", ";": ",", "/": "-"})
"""Characters outside the alphabet, and what is read in their place; a paragraph with any other is left out."""

FEWEST = 60
"""A paragraph of fewer characters is a heading or a list's item."""

PROMPT = "the gradient of the "
SAMPLED = 400
"""Characters that follow it in a sample."""
TEMPERATURE = 0.7
"""Below 1 a sample keeps to what is likely."""


@part
class Letters(DataConfig):
    """Windows of a text, one after the other: at each character the next one is to be told from those before it.

    The text is the prose of PyTorch's docstrings: whole paragraphs of sentences, lower-case, without code, mathematics
    and repeated paragraphs. What the standard library ships (`pydoc_data.topics`) differs between Python versions, and
    the texts that do not are too short; torch is the one package that this project pins to a minor release, and its
    version is part of a run's identity anyway. The splits are contiguous parts of the text, in the order train, val,
    test.
    """

    batch_size: Count = 32
    """Windows in each optimizer step; the last, incomplete batch of an epoch is left out."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 64
    """Characters of a window; nothing is remembered from one window to the next."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Part of the text held for validation."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Part of the text held for test."""

    def spec(self) -> DataSpec:
        """`steps` characters, as tokens; the next one at each."""
        return DataSpec(
            task="multiclass",
            layout="sequence",
            shape=(self.steps, 1),
            outputs=len(ALPHABET),
            metric="loss",
            tokens=len(ALPHABET),
            per_step=True,
        )

    def load(self) -> Splits:
        """Cut the text into three parts, and each into windows that share no character."""
        tokens = encode(text())
        held, tested = round(self.validation * len(tokens)), round(self.test * len(tokens))
        ends = [0, len(tokens) - held - tested, len(tokens) - tested, len(tokens)]
        train, val, test = (self._windows(tokens[a:b]) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)

    def sample(self, network: nn.Module) -> str:
        """A continuation of `PROMPT`, drawn character by character; the network sees the last `steps` of them."""
        import torch

        device = next(network.parameters()).device
        random = torch.Generator().manual_seed(0)
        tokens = [ALPHABET.index(character) for character in PROMPT]
        for _ in range(SAMPLED):
            window = torch.tensor(tokens[-self.steps :], dtype=torch.float32, device=device).view(1, -1, 1)
            scores = network(window)[0, :, -1].double().cpu() / TEMPERATURE
            tokens.append(int(torch.multinomial(scores.softmax(0), 1, generator=random)))
        return "".join(ALPHABET[token] for token in tokens)

    def _windows(self, tokens: Array) -> Split:
        count = (len(tokens) - 1) // self.steps  # the last one's target is one character further
        if not count:
            raise BadInputError(f"data.steps = {self.steps}: a split has {len(tokens)} characters only")
        inputs = tokens[: count * self.steps].reshape(count, self.steps, 1)
        targets = tokens[1 : count * self.steps + 1].reshape(count, self.steps)
        return Split(inputs.astype(np.float32), targets.astype(np.int64))


def encode(characters: str) -> Array:
    """Tokens of a text in the alphabet: (characters,) int64."""
    return np.array([ALPHABET.index(character) for character in characters], dtype=np.int64)


def text() -> str:
    """The whole text, one paragraph a line. Found without importing torch."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    paragraphs: dict[str, None] = {}  # in order, each once
    for source in SOURCES:
        path = root / source
        files = path.rglob("*.py") if path.is_dir() else [path]
        for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
            for string in _strings(file):
                paragraphs |= dict.fromkeys(_prose(string))
    return "\n".join(paragraphs)


def _strings(path: Path) -> Iterator[str]:
    """The string literals of a module that span lines, in their order: docstrings for the most part."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in inner]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.value, str) and "\n" in node.value:
            yield node.value


def _prose(string: str) -> Iterator[str]:
    """The paragraphs of a docstring that are sentences and, but for marks of emphasis, in the alphabet."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(string)):
        plain = re.sub(r":(?!math)\w+:`~?\.?([^`<]*?)(?: <[^`]*>)?`", r"\1", " ".join(block.split()))
        plain = plain.replace("`", "").replace("*", "")
        if len(plain) >= FEWEST and plain[0].isupper() and plain.endswith("."):
            small = plain.lower().translate(LIKE)
            if set(small) <= set(ALPHABET):
                yield small
