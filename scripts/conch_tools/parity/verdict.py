"""What a comparison came to: every way of asking with its figures, what missed the gate, and where it began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conch_tools.build.reference import Item
from conch_tools.parity.asking import Outcome
from conch_tools.parity.corpus import Corpus
from conch_tools.parity.steps import Divergence
from conch_tools.pipelines import Likeness
from conch_tools.printable import shortened

SHOWN_CHARACTERS = 160


@dataclass(frozen=True)
class Example:
    """A case that differs, for people."""

    way: str
    place: str
    input: str
    problem: str
    says_something_else: bool
    """Whether more is off than numbers."""


@dataclass(frozen=True)
class Verdict:
    """One pipeline compared with its reference, or with another that is served."""

    pipeline: str
    compared_with: str
    """`PyTorch`, or the other pipeline, profile or address."""
    gate: Likeness
    outcomes: Sequence[Outcome]
    corpus: Corpus
    divergence: Divergence | None
    """None when nothing differs."""
    problem: str | None = None
    """Why nothing could be compared."""

    @classmethod
    def of_problem(cls, pipeline: str, compared_with: str, gate: Likeness, problem: str) -> Verdict:
        """A pipeline that could not be compared, which is no reason to forget the others."""
        return cls(pipeline, compared_with, gate, (), Corpus(()), None, problem)

    @property
    def passed(self) -> bool:
        """Whether every way of asking passes the gate."""
        return self.problem is None and not any(self.missed.values())

    @property
    def missed(self) -> Mapping[str, list[str]]:
        """What misses the gate, by way of asking."""
        return {each.way: each.figures.missed(self.gate) for each in self.outcomes}

    @property
    def examples(self) -> list[Example]:
        """Every case that differs, in every way; those that say something else come first."""
        examples = [
            Example(
                each.way,
                self.corpus.place(difference.index),
                shown_item(self.corpus.items[difference.index]),
                difference.problem,
                difference.says_something_else,
            )
            for each in self.outcomes
            for difference in each.differences
        ]
        return sorted(examples, key=lambda example: not example.says_something_else)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values; a difference that is infinite is null."""
        return {
            "pipeline": self.pipeline,
            "compared_with": self.compared_with,
            "passed": self.passed,
            "problem": self.problem,
            "gate": self.gate.model_dump(),
            "ways": [
                {
                    "way": each.way,
                    **{name: _finite(value) for name, value in asdict(each.figures).items()},
                    "missed": self.missed[each.way],
                }
                for each in self.outcomes
            ],
            "first_diverging_step": None if self.divergence is None else asdict(self.divergence),
            "differing": [asdict(each) for each in self.examples],
        }


def shown_item(item: Item) -> str:
    """An input in short."""
    return ", ".join(_shown_tensor(value) for value in item.values())


def _shown_tensor(value: Any) -> str:
    texts = [_shown_bytes(each) for each in value.ravel()] if value.dtype.kind == "O" else [str(value.tolist())]
    text = ", ".join(texts)
    return shortened(text, SHOWN_CHARACTERS)


def _shown_bytes(value: object) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return f"({len(value)} bytes)"
    text = str(value)
    return text if text.isprintable() and text else repr(text)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
