"""What a backend can do: its declared limits, or, where it declares none, those that one plain call a feature finds."""

from __future__ import annotations

from collections.abc import Iterator
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


def features() -> Iterator[tuple[str, Case]]:
    """Each optional feature as a condition, with a plain case that needs it and nothing else."""
    for dtype in SIGNIFICAND_BITS:
        yield f"dtype == '{dtype}'", replace(_PLAIN, dtype=dtype)
    for name in PADDING_NAMES:
        yield f"padding == '{name}'", _PLAIN.with_geometry(padding=name)
    for mode in PADDING_MODES[1:]:
        yield f"padding_mode == '{mode}'", replace(_PLAIN.with_geometry(padding=(1, 1)), padding_mode=mode)
    yield "stride > 1", _PLAIN.with_geometry(stride=2)
    yield "dilation > 1", _PLAIN.with_geometry(dilation=2)
    yield "padding == 'explicit' and lo + hi > 0", _PLAIN.with_geometry(padding=(1, 1))
    yield "lo != hi", _PLAIN.with_geometry(padding=(1, 0))
    yield "groups > 1", _PLAIN.with_geometry(groups=2)


def _found(surface: Surface) -> Iterator[Limit]:
    for when, case in features():
        try:
            surface.answer(call_of(case, operands(case)))
        except Refused as refusal:
            yield Limit(Condition(f"surface == '{surface.name}' and {when}"), f"refused when probed: {refusal}", True)
        except Died:
            continue  # the checks of this feature will meet it again, and report it


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
    """The limits of a surface. Raises ValueError for a declared condition outside the language."""
    declared = description["limits"]
    if declared is None:
        own = tuple(_found(surface))
    else:
        own = tuple(Limit(Condition(when), reason) for when, reason in declared.items())
    undeclared = description["dtypes"]
    if undeclared is not None:
        absent = sorted(set(SIGNIFICAND_BITS) - set(undeclared))
        own += tuple(Limit(Condition(f"dtype == '{d}'"), "not among the adapter's dtypes") for d in absent)
    return (*_absent_transforms(description), *own)


def float_dtypes(surface: Surface, limits: tuple[Limit, ...]) -> tuple[str, ...]:
    """The real floating dtypes in which the surface works; float32 where it declines all of them."""
    facts = {**_SIMPLEST.facts(), "surface": surface.name, "device": devices.kind(surface.backend.device)}
    open_to = (d for d in FLOATS if not any(limit.when.holds({**facts, "dtype": d}) for limit in limits))
    return tuple(open_to) or ("float32",)
