"""What probes find out about one quantity of one size: facts with their evidence, or why nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NEAREST_EVEN, NEAREST_AWAY, TRUNCATED, DIRECTED = "nearest, ties to even", "nearest, ties away", "truncated", "directed"
NEAREST = (NEAREST_EVEN, NEAREST_AWAY)


@dataclass(frozen=True)
class Fact:
    """One thing found. `value` is None where it is unknown, and then the evidence is the reason."""

    name: str
    value: int | float | str | bool | None
    evidence: str


@dataclass(frozen=True)
class Facts:
    """Everything found about one quantity ("y", "gx", "gw", "gb") in sums of n products."""

    quantity: str
    n: int
    found: Mapping[str, Fact] = field(default_factory=dict)

    def value(self, name: str) -> int | float | str | bool | None:
        """The value of a fact; None where it is unknown or was not asked for."""
        return self.found[name].value if name in self.found else None

    def number(self, name: str) -> float | None:
        """The value of a fact that is a number."""
        value = self.value(name)
        return None if value is None else float(value)

    @property
    def unknown(self) -> dict[str, str]:
        """The facts that could not be found, with the reasons."""
        return {name: fact.evidence for name, fact in self.found.items() if fact.value is None}
