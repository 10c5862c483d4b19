"""Which examples a check is tried on: what it selects from the pool and makes itself, and a few inside limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import not_
from typing import Any

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.pool import evenly
from conv1d_cts.conformance.relatives import nearest


@dataclass(frozen=True)
class Selection:
    """A check's choice among cases, and what limits forbid it.

    Of the examples outside limits at most `sample` from the pool and `most` of the cases that the check makes itself,
    where these are given, beside those that `is_known` to fail; `turn` chooses which, so that other checks get others.
    What a check makes itself and is no case, a call with a rule broken or a worked example, is always tried. Where
    a limit forbids the check on every case, the selection is `closed`: no case has a relative that is possible. Where
    `bias_aside`, a case whose bias alone is forbidden is tried without one.
    """

    select: Callable[[tuple[Case, ...]], Iterable[Any]]
    is_limited: Callable[[Any], bool]
    sample: int | None = None
    most: int | None = None
    closed: bool = False
    bias_aside: bool = False
    is_known: Callable[[Any], bool] = lambda example: False
    turn: int = 0

    def examples(
        self, recorded: tuple[Case, ...], cases: tuple[Case, ...], limited: tuple[Case, ...], few: int
    ) -> list[Any]:
        """Those from `recorded` cases, those outside limits, and `few` inside."""
        own = set(self.select(()))
        first = [e for e in self.select(recorded) if e not in own]
        selected = _without(self.select((*recorded, *cases)), first)
        first = [self._bare(e) or e if self.is_limited(e) else e for e in first]
        inside = [self.is_limited(e) for e in selected]
        possible = list(compress(selected, map(not_, inside)))
        refused = list(compress(selected, inside))
        forbidden = refused + [e for e in self.select(limited) if self.is_limited(e)]
        possible += self._relatives([e for e in refused if isinstance(e, Case)], possible)
        possible += [bare for bare in map(self._bare, refused) if bare]
        if self.sample is not None:
            made = [e for e in possible if e in own]
            always = [e for e in made if not isinstance(e, Case)]
            made_cases, of_pool = _without(made, always), _without(possible, made)
            possible = [*always, *self._some(made_cases, self.most), *self._some(of_pool, self.sample)]
        return [*first, *possible, *evenly(forbidden, few)]

    def _some(self, examples: Sequence[Any], count: int | None) -> Sequence[Any]:
        """So many of the examples, and those that are known to fail; all of them for None."""
        if count is None:
            return examples
        known = [e for e in examples if self.is_known(e)]
        return [*known, *evenly(_without(examples, known), count, self.turn)]

    def _bare(self, example: Any) -> Any:
        """An example that is forbidden, without its bias; None where that does not help, or says something else."""
        bare: Any = None
        if isinstance(example, Malformed):
            bare = example.without_bias()
        elif self.bias_aside and isinstance(example, Case) and example.bias:
            bare = replace(example, bias=False)
        return None if bare is None or self.is_limited(bare) else bare

    def _relatives(self, limited: Sequence[Case], known: Sequence[Any]) -> list[Case]:
        """The nearest relatives outside limits of cases that the check made itself, as far as it is for them."""
        if self.closed:
            return []
        found = (nearest(case, lambda relative: not self.is_limited(relative)) for case in limited)
        new = dict.fromkeys(case for case in found if case)
        return [case for case in new if case not in known and case in self.select((case,))]


def _without(examples: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    left_out = set(others)
    return [e for e in examples if e not in left_out]
