"""The registry of mutants, as data: a name, a chapter, the fault in words, and the function that plants it.

A mutant is a function `name(m, rng)`: it draws its thresholds from rng, plants one fault in the correct backend m, and
returns its witness, a call (or a probe of several) on which the fault shows. Its docstring is the fault and its
condition, and in brackets the public report that inspired it. "owner/repo#1, kind" is a report of another fault of the
same kind; "kind: ..." has no report in the bank.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.witness import Witness

Rng = np.random.Generator
Plant = Callable[[Backend, Rng], Witness]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: `fault` says what and when, `plant` plants it in a backend and returns the witness."""

    name: str
    chapter: str
    fault: str
    plant: Plant

    def plant_in(self, backend: Backend, seed: int) -> Witness:
        """Plant the fault with the thresholds of this seed in a backend, beside what is there; return the witness."""
        return self.plant(backend, np.random.default_rng([seed, zlib.crc32(self.name.encode())]))

    def build(self, seed: int) -> tuple[Backend, Witness]:
        """Return the mutant with the thresholds of this seed, and its witness."""
        backend = Backend(self.name)
        return backend, self.plant_in(backend, seed)

    def factory(self, seed: int) -> Backend:
        """Return the mutant as an adapter, with the thresholds of this seed."""
        return self.build(seed)[0]

    def witness(self, seed: int) -> Witness:
        """Return what shows the fault at this seed."""
        return self.build(seed)[1]


MUTANTS: dict[str, Mutant] = {}


def chapter(title: str) -> Callable[[Plant], Plant]:
    """Return the decorator that registers mutants of a chapter. It raises ValueError for a name used twice."""

    def register(plant: Plant) -> Plant:
        name, fault = plant.__name__, (plant.__doc__ or "").strip()
        if name in MUTANTS or not fault:
            raise ValueError(f"mutant {name}: the name is taken, or there is no docstring")
        MUTANTS[name] = Mutant(name, title, fault, plant)
        return plant

    return register


def draw(rng: Rng, low: int, high: int) -> int:
    """Draw an integer from low to high, both included."""
    return int(rng.integers(low, high + 1))


def pick(rng: Rng, values: Sequence[int]) -> int:
    """Draw one of the values."""
    return int(rng.choice(values))


def clear(result: Any, index: Any, value: Any = 0) -> None:
    """Set result[index], as an expression."""
    result[index] = value
