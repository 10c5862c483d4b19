"""Operands with a NaN or an infinity among them, and what y then is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Array, Flaw, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands, operands

SPECIAL = (np.nan, np.inf, -np.inf)


def chosen_place(case: Case, shape: tuple[int, ...], salt: int) -> tuple[int, ...]:
    """A place in an array, chosen by the case."""
    rng = np.random.default_rng([case.seed, salt])
    return tuple(int(rng.integers(extent)) for extent in shape)


def with_a_special_value(case: Case) -> list[Operands]:
    """The case's operands with a NaN or an infinity in x, at a place of the case's choice and at the ends of a row."""
    given, sets = operands(case), []
    place = chosen_place(case, given.x.shape, 0)
    for at in (place[2], 0, -1):
        for value in SPECIAL:
            x = given.x.copy()
            x[(*place[:2], at)] = value
            sets.append(replace(given, x=x))
    return sets


def agrees_around(case: Case, given: Operands, got: Array, name: str) -> None:
    """Raise Violation where y misses a NaN that it reads, or is another at what reads none and no infinity."""
    with np.errstate(invalid="ignore"):
        want = oracle.forward(case, given)
    shows_every_nan(got, want, name)
    is_right_elsewhere(got, want, name)


def shows_every_nan(got: Array, want: Array, name: str) -> None:
    """Raise Violation where y reads a NaN and is none."""
    judge.same_shape(got, want.shape, name)
    missed = np.isnan(want) & ~np.isnan(got)
    if missed.any():
        at = tuple(int(i) for i in np.argwhere(missed)[0])
        flaw = Flaw("value", got, np.nan, at)
        raise Violation(f"{name}{list(at)} reads a NaN and is {got[at]}", "nan", got[at], flaw)


def is_right_elsewhere(got: Array, want: Array, name: str) -> None:
    """Raise Violation where y reads no NaN and no infinity, and is another."""
    judge.same_shape(got, want.shape, name)
    judge.equal(got, want, f"{name} where nothing reads a NaN or an infinity: {name}", np.isfinite(want))
