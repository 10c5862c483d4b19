"""What a backend can do: its declared limits, or, where it declares none, those that one plain call a feature finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.conformance.backend import Refused, Surface, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.ledger import Limit
from conv1d_cts.conformance.pool import FLOATS
from conv1d_cts.conformance.recipes import SIGNIFICAND_BITS, operands
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES

_PLAIN = Case(Geometry(1, 2, 2, 7, 3))
_SIMPLEST = Case(Geometry(1, 1, 1, 1, 1), bias=False)  # which a surface of one channel or without a bias can do too

# Programs and the transforms of the adapter that they are made of.
_NEEDS = {
    "vjp": ("vjp",), "jvp": ("jvp",), "vjp_of_vjp": ("vjp",), "jvp_of_vjp": ("vjp", "jvp"), "vmap": ("vmap",),
    "mapped_vjp": ("vjp", "vmap"), "vjp_of_vmap": ("vjp", "vmap"),
    "compiled": ("compile",), "compiled_vjp": ("compile", "vjp"), "eval_shape": ("eval_shape",),
    "accumulated": ("accumulate",),
}  # fmt: skip


def _words(simple: Case) -> Iterator[tuple[str, Case]]:
    """Each dtype, in a case like this one, padding name and padding mode: what releases add to, one by one."""
    for dtype in SIGNIFICAND_BITS:
        yield f"dtype == '{dtype}'", replace(simple, dtype=dtype)
    for name in PADDING_NAMES:
        yield f"padding == '{name}'", _PLAIN.with_geometry(padding=name)
    for mode in PADDING_MODES[1:]:
        yield f"padding_mode == '{mode}'", replace(_PLAIN.with_geometry(padding=(1, 1)), padding_mode=mode)


def features() -> Iterator[tuple[str, Case]]:
    """Each optional feature as a condition, with a plain case that needs it and nothing else."""
    yield from _words(_PLAIN)
    yield "stride > 1", _PLAIN.with_geometry(stride=2)
    yield "dilation > 1", _PLAIN.with_geometry(dilation=2)
    yield "padding == 'explicit' and lo + hi > 0", _PLAIN.with_geometry(padding=(1, 1))
    yield "lo != hi", _PLAIN.with_geometry(padding=(1, 0))
    yield "groups > 1", _PLAIN.with_geometry(groups=2)


def _found(surface: Surface, tried: Iterable[tuple[str, Case]]) -> Iterator[Limit]:
    for when, case in tried:
        try:
            surface.answer(call_of(case, operands(case)))
        except Refused as refusal:
            yield Limit(Condition(f"surface == '{surface.name}' and {when}"), f"refused when probed: {refusal}", True)
        except Died as death:  # the checks of this feature will meet it again, and report it
            if death.kind == "hang":
                return  # who hangs once may hang each time, for as long


def _absent_transforms(description: dict[str, Any]) -> Iterator[Limit]:
    for program, needed in _NEEDS.items():
        missing = [name for name in needed if name not in description["transforms"]]
        if missing:
            yield Limit(Condition(f"function == '{program}'"), f"the adapter offers no {' and no '.join(missing)}")
    if not description["composes"]:
        composed = (
            "function in ('vjp_of_vjp', 'jvp_of_vjp', 'mapped_vjp', 'vjp_of_vmap') or rule == 'nested' "
            "or rule == 'tied' and function != 'conv1d' or rule == 'sum'"
        )
        yield Limit(
            Condition(composed), "the adapter's transforms take one call of distinct operands, and don't compose"
        )
    if not description["threads"]:
        at_once = "function == 'at_once' or rule == 'at once'"
        yield Limit(Condition(at_once), "the adapter takes one call after another")
    fits = description["fits"]
    yield Limit(Condition(f"function == 'fit' and surface not in {(*fits, '')}"), "not a layer that the adapter fits")
    if "conv2d" not in description["surfaces"]:
        yield Limit(Condition("function == 'conv2d'"), "the adapter offers no surface conv2d")


def limits_of(surface: Surface, description: dict[str, Any]) -> tuple[Limit, ...]:
    """The limits of a surface: declared, or found where the adapter declares none.

    Found is as well a dtype, a padding name or a mode that is outside its limits and refused in a plain call, where
    others are answered: further calls with it would tell no more, and hide what else breaks a clause. Raises ValueError
    for a condition outside the language.
    """
    declared, dtypes = description["limits"], description["dtypes"]
    absent = [] if dtypes is None else sorted(set(SIGNIFICAND_BITS) - set(dtypes))
    own = (
        *(Limit(Condition(when), reason) for when, reason in (declared or {}).items()),
        *(Limit(Condition(f"dtype == '{dtype}'"), "not among the adapter's dtypes") for dtype in absent),
    )
    plain = features() if declared is None else _words(_SIMPLEST)
    tried = [(when, case) for when, case in plain if not _limited(surface, own, case)]
    found = tuple(_found(surface, tried))
    if declared is not None and len(found) == len(tried):
        found = ()  # who refuses each word refuses none of them in particular
    return (*_absent_transforms(description), *own, *found)


def _limited(surface: Surface, limits: tuple[Limit, ...], case: Case) -> bool:
    facts = {**case.facts(), "surface": surface.name, "device": devices.kind(surface.backend.device)}
    return any(limit.when.holds(facts) for limit in limits)


def float_dtypes(surface: Surface, limits: tuple[Limit, ...]) -> tuple[str, ...]:
    """The real floating dtypes in which the surface works; float32 where it declines all of them."""
    open_to = (dtype for dtype in FLOATS if not _limited(surface, limits, replace(_SIMPLEST, dtype=dtype)))
    return tuple(open_to) or ("float32",)
