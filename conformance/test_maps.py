"""Chapter INV, continued: the operator mapped over further axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.accuracy import recipe
from conv1d_cts.conformance.backend import Array, Call, Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, SHARING
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.maps import Level, Map
from conv1d_cts.conformance.outcomes import mapped, of_operands, refused_alike
from conv1d_cts.conformance.recipes import Operands, exact_in_sums, operands
from conv1d_cts.conformance.special import agrees_around, with_a_special_value
from conv1d_cts.conformance.values import operand_names, small_zeros
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES

_MAPS = tuple(
    (Level(over, extent),)
    for over, extent in (("x", 1), ("x", 5), ("w", 3), ("xw", 2), ("b", 4), ("xb", 3), ("wb", 3), ("xwb", 2))
)
# Each chunk of 4 to 12 divides one of these but for one index, which is alone in the last chunk.
_LONG = tuple((Level(over, extent),) for over, extent in (("x", 61), ("w", 57), ("xw", 55), ("x", 45), ("b", 53)))
_SIMPLE = (
    Case(Geometry(1, 2, 2, 7, 3), bias=False),
    Case(Geometry(2, 2, 4, 7, 2, groups=2), bias=False, seed=1),
    Case(Geometry(1, 2, 3, 7, 3), seed=2),
)
# Names whose padding is even and odd in total, and longer before the input or after it.
_NAMED = tuple(
    Case(Geometry(2, 2, 2 * groups, 7, kernel, stride, 1, groups, name), seed=seed)
    for seed, (name, (kernel, stride, groups)) in enumerate(product(PADDING_NAMES, ((2, 1, 1), (3, 2, 2))))
)
_NESTED = tuple(
    (Level(outer, extent), Level(inner, 3))  # equal extents tell axes that change places by their values alone
    for (outer, inner), extent in product(
        (("w", "x"), ("x", "w"), ("x", "x"), ("xw", "x"), ("wb", "x"), ("b", "xwb")), (2, 3)
    )
)
_EMPTY = tuple((Level(over, 0),) for over in ("x", "w", "xw", "b", "xwb"))
# Extents of y that differ, and that are alike: by its length the axis of a map may be taken for one of them.
_EXTENTS = (Case(Geometry(3, 2, 4, 7, 3), seed=1), Case(Geometry(3, 3, 3, 3, 1), seed=2))
_REAL = (
    *_SIMPLE, *(replace(case, dtype="float64") for case in _SIMPLE),
    *(Case(Geometry(2, 3, 4, 7, 1), dtype, bias=False) for dtype in ("float32", "float64")),
)  # fmt: skip
_UNDER_MODES = (  # the first ones without what some surfaces lack
    *(Case(Geometry(2, 2 * groups, 4, 7, 3, groups=groups), bias=False, seed=groups) for groups in (1, 2)),
    Case(Geometry(2, 2, 3, 7, 3, padding=(1, 1)), bias=False, seed=3),
    *(
        Case(
            Geometry(2, 2, 3, 7, 3, padding=(2, 1)), "float32", False, mode, 1.5 if mode == "constant" else 0, seed=seed
        )
        for seed, mode in enumerate(PADDING_MODES)
    ),
)
_FEW = (*_UNDER_MODES[:2], Case(Geometry(2, 3, 3, 7, 2, groups=3, padding=(1, 1)), bias=False, seed=2))
_LAID_OUT = tuple(replace(_SIMPLE[0], layout=layout) for layout in LAYOUTS[1:] if layout not in SHARING)
_RULES = 16  # malformed calls of a clause
_TRIED = 4  # ways of all to map one case: a compiler pays for each


def _ways(case: Case, ways: tuple[tuple[Level, ...], ...], most: int) -> list[Map]:
    """So many of the ways that the case's operands allow, as its seed chooses."""
    names = set(operand_names(case))
    possible = [way for way in ways if names.issuperset("".join(level.over for level in way))]
    return [Map(case, way) for way in (possible * 2)[case.seed % len(possible) :][: min(most, len(possible))]]


def _is_the_loop(surface: Surface, mapping: Map) -> None:
    got = require(surface.answer(mapping.call()).results[0], "the map")
    what = f"vmap over {' of vmap over '.join(level.over for level in mapping.levels)}"
    judge.equal(got, mapping.want(), what)
    judge.same_dtype(got, mapping.case.dtype, what)


def vmap_is_a_loop(surface: Surface, case: Case) -> None:
    """Mapped over x, w, b, a pair or all of them, as the case chooses, the map gives the stack of the single calls."""
    for mapping in _ways(case, _MAPS, _TRIED):
        _is_the_loop(surface, mapping)


def long_vmap_is_a_loop(surface: Surface, case: Case) -> None:
    """So does a map over many indices."""
    for mapping in _ways(case, _LONG, len(_LONG)):
        _is_the_loop(surface, mapping)


def special_values_in_a_map(surface: Surface, case: Case) -> None:
    """A NaN or an infinity in one call of a map is where that call has it, and in no other one."""
    sets = [operands(case), *with_a_special_value(case)]
    for given, got in zip(sets, _mapped(surface, case, "x", sets), strict=True):
        agrees_around(case, given, got, "y of a map")


def far_apart_in_a_map(surface: Surface, case: Case) -> Accuracy:
    """On real data each call of a map, over x, w or both, is within its own bound, beside calls of other magnitudes."""
    given, apart, found = operands(case), 2.0 ** (6 if case.dtype == "float16" else 40), []
    for over in ("x", "w", "xw"):
        sets = [
            replace(given, **{over[0]: getattr(given, over[0]) * given.x.dtype.type(s)}) for s in (1 / apart, 1, apart)
        ]
        for y, one in zip(_mapped(surface, case, over, sets), sets, strict=True):
            found.append(
                judge.within(y, bounds.forward(case, one, bounds.UNIT_ROUNDOFF[case.dtype]), f"y of a map over {over}")
            )
    return judge.worst(found)


def _mapped(surface: Surface, case: Case, over: str, sets: list[Operands]) -> Array:
    """The results (M, N, O, L_out) of a map over so many of the operands named."""
    return require(surface.answer(_call_of_stacks(case, over, sets)).results[0], "the map")


def _call_of_stacks(case: Case, over: str, sets: list[Operands]) -> Call:
    """The call of a map over the operands named, on their first axes."""
    call = call_of(case, operands(case), "vmap", over)
    stacked = {name: np.stack([getattr(one, name) for one in sets]) for name in over}
    return replace(call, axes=((0,) * len(over),), arrays={**call.arrays, **stacked})


def vmap_as_long_as_an_extent(surface: Surface, case: Case) -> None:
    """So does a map as long as the batch, the channels or the windows of y."""
    for over, extent in product(("x", "w", "b", "xb"), sorted(set(case.geometry.y_shape))):
        _is_the_loop(surface, Map(case, (Level(over, extent),)))


def vmap_of_vmap_is_a_loop(surface: Surface, case: Case) -> None:
    """A map of a map, over one operand twice or over two in turn, gives the stack of stacks."""
    (mapping,) = _ways(case, _NESTED, 1)
    _is_the_loop(surface, mapping)


def mapped_gradients(surface: Surface, case: Case) -> None:
    """The gradients of each item's own call, as who clips them one by one asks for: a map gives the stack of them."""
    (mapping,) = _ways(case, _MAPS, 1)
    results = surface.answer(mapping.call_of_gradients()).results
    for name, got, want in zip(operand_names(case), results, mapping.want_gradients(), strict=True):
        judge.equal(require(got, f"g{name}"), want, f"g{name}, mapped over {mapping.levels[0].over},")


def mapped_gradients_alone(surface: Surface, case: Case) -> None:
    """So does a map of the gradient of w, or of x, alone, the other being mapped, as per-sample gradients are."""
    for slot, over in (("w", "x"), ("x", "w"), ("w", "xw")):
        mapping = Map(case, (Level(over, 3),))
        (got,) = surface.answer(mapping.call_of_gradients(slot)).results
        want = mapping.want_gradients()[operand_names(case).index(slot)]
        judge.equal(require(got, f"g{slot}"), want, f"g{slot} alone, mapped over {over},")


def a_map_leaves_operands_alone(surface: Surface, case: Case) -> None:
    """No operand, nor cotangent, has other bits after a map of y or of the gradients, and the gradients of a map."""
    (mapping,) = _ways(case, _MAPS, 1)
    for call in (mapping.call(), mapping.call_of_gradients(), mapping.call_of_its_gradients()):
        judge.unmodified(surface.answer(call).modified, call.program)


def rows_of_a_jacobian(surface: Surface, case: Case) -> None:
    """So does a map over the cotangent alone, on any axis of it, as who asks for a Jacobian makes."""
    names, sets = operand_names(case), [operands(replace(case, seed=case.seed + offset)) for offset in range(3)]
    given, axis = operands(case), case.seed % 4
    call = replace(call_of(case, given, "vjp", names), program="mapped_vjp", axes=((*(None for _ in names), axis),))
    stacked = np.stack([one.cotangent for one in sets], axis)
    results = surface.answer(replace(call, arrays={**call.arrays, "cotangent": stacked})).results
    each = [oracle.gradients(case, replace(given, cotangent=one.cotangent)) for one in sets]
    for name, got in zip(names, results, strict=True):
        want = np.stack([gradients[name] for gradients in each])
        judge.equal(require(got, f"g{name}"), want, f"g{name}, mapped over axis {axis} of the cotangent alone")


def tangents_of_a_map(program: str) -> Callable[[Surface, Case], None]:
    """A body: the tangents of a map, or a map of the tangents, over x, w or both, are the stack of the calls' own."""

    def body(surface: Surface, case: Case) -> None:
        drawn = [operands(replace(case, seed=case.seed + offset)) for offset in range(3)]
        for over in ("x", "w", "xw"):
            sets = [replace(drawn[0], tangents=one.tangents, **{n: getattr(one, n) for n in over}) for one in drawn]
            call = _call_of_stacks(case, over, sets)
            tangents = {f"{name}_tangent": np.stack([one.tangents[name] for one in sets]) for name in over}
            levels = call.axes if program == "jvp_of_vmap" else tuple(level * 2 for level in call.axes)
            call = replace(call, program=program, axes=levels, arrays={**call.arrays, **tangents})
            want = np.stack([oracle.tangent(case, one, over) for one in sets])
            judge.equal(require(surface.answer(call).results[0], "the tangent"), want, f"{program} over {over}")

    return body


def compiled_map_is_a_loop(program: str) -> Callable[[Surface, Case], None]:
    """A body: a map that is compiled, or a map of what is compiled, gives what it gives uncompiled."""

    def body(surface: Surface, case: Case) -> None:
        (mapping,) = _ways(case, _MAPS[:4], 1)
        got = require(surface.answer(replace(mapping.call(), program=program)).results[0], "the map")
        judge.equal(got, mapping.want(), f"{program} over {mapping.levels[0].over}")

    return body


def gradients_of_a_map(surface: Surface, case: Case) -> None:
    """The gradients of a map, as of a loss of its whole result: the loop's, added up where calls share an operand."""
    (mapping,) = _ways(case, _MAPS, 1)
    _are_the_loops(surface, mapping)


def _are_the_loops(surface: Surface, mapping: Map) -> None:
    call = mapping.call_of_its_gradients()
    for name, got, want in zip(call.wrt, surface.answer(call).results, mapping.want_its_gradients(call), strict=True):
        judge.equal(require(got, f"g{name}"), want, f"g{name} of a map over {mapping.levels[0].over}")


def gradients_of_a_long_map(surface: Surface, case: Case) -> None:
    """So are those of a map over many indices."""
    for mapping in _ways(case, _LONG, len(_LONG)):
        _are_the_loops(surface, mapping)


def _adds_up(case: Case) -> bool:
    """Of a map, too, each gradient is exact; of the pool few cases, since a compiler pays for each."""
    exact = small_zeros(case) and exact_in_sums(case, max(level.extent for (level,) in _MAPS))
    return exact and (case in _NAMED or case.seed // len(_MAPS) % 32 == 0)


def vmap_over_nothing(surface: Surface, case: Case) -> None:
    """Mapped over an axis of size 0, the stack is empty: (0, N, O, L_out)."""
    for mapping in _ways(case, _EMPTY, len(_EMPTY)):
        got = require(surface.answer(mapping.call()).results[0], "the map")
        judge.same_shape(got, mapping.want().shape, f"vmap over an axis of size 0 of {mapping.levels[0].over}")


_VMAP: dict[str, Fact] = {"function": "vmap"}
_WHOLE = [Case(Geometry(2, 2, 3, 7, 2), dtype, seed=seed) for seed, dtype in enumerate(("int8", "int32", "uint8"))]
test_inv_17_vmap = tries("INV-17", vmap_is_a_loop, small_zeros, own=[*_NAMED, *_WHOLE], extra=_VMAP, sampled=True)
test_inv_1_maps = tries(
    "INV-1", a_map_leaves_operands_alone, lambda c: c in _SIMPLE, own=_SIMPLE, extra=_VMAP, may_refuse=True, minimum=0
)
test_inv_17_long_vmap = tries(
    "INV-17", long_vmap_is_a_loop, lambda c: c in _SIMPLE, own=_SIMPLE, extra=_VMAP, minimum=1
)
test_inv_17_gradients_of_a_long_map = tries(
    "INV-17", gradients_of_a_long_map, lambda c: c in _SIMPLE, own=_SIMPLE,
    extra={"function": "vjp_of_vmap", "wrt": "xw"}, minimum=1, may_refuse=True,
)  # fmt: skip
test_inv_17_extents = tries(
    "INV-17", vmap_as_long_as_an_extent, lambda c: c in _EXTENTS, own=_EXTENTS, extra=_VMAP, minimum=1
)
test_inv_17_vmap_of_vmap = tries(
    "INV-17", vmap_of_vmap_is_a_loop, small_zeros, extra={**_VMAP, "rule": "nested"}, sampled=True
)
test_inv_17_gradients = tries(
    "INV-17", mapped_gradients, small_zeros, own=_NAMED, extra={"function": "mapped_vjp", "wrt": "xwb"}, sampled=True,
    may_refuse=True,
)  # fmt: skip
_alone = partial(
    tries, "INV-17", telling=lambda c: c in _UNDER_MODES, own=_UNDER_MODES,
    extra={"function": "mapped_vjp", "wrt": "xw"}, may_refuse=True, minimum=1,
)  # fmt: skip
test_inv_17_gradients_alone = _alone(mapped_gradients_alone)
test_inv_17_jacobian = _alone(rows_of_a_jacobian)
test_inv_17_tangents, test_inv_17_mapped_tangents = (
    tries(
        "INV-17", tangents_of_a_map(program), lambda c: c in _UNDER_MODES, own=_UNDER_MODES, extra={"function": "jvp"},
        may_refuse=True, minimum=0,
    )
    for program in ("jvp_of_vmap", "vmap_of_jvp")
)  # fmt: skip
test_inv_19_maps, test_inv_19_in_maps = (
    tries(
        "INV-19", compiled_map_is_a_loop(program), lambda c: c in _FEW, own=_FEW,
        extra={"function": "compiled", "rule": "mapped"}, costly=True, may_refuse=True, minimum=0,
    )
    for program in ("compiled_vmap", "vmap_of_compiled")
)  # fmt: skip
test_inv_17_modes = tries(
    "INV-17", vmap_is_a_loop, lambda c: c in _UNDER_MODES, own=_UNDER_MODES, extra=_VMAP, minimum=1
)
test_inv_17_layouts = tries("INV-17", vmap_is_a_loop, lambda c: c in _LAID_OUT, own=_LAID_OUT, extra=_VMAP, minimum=1)
test_inv_17_gradients_of_a_map = tries(
    "INV-17", gradients_of_a_map, _adds_up, own=_NAMED, extra={"function": "vjp_of_vmap", "wrt": "xwb"}, sampled=True,
    may_refuse=True,
)  # fmt: skip
test_inv_17_vmap_over_nothing = tries(
    "INV-17", vmap_over_nothing, small_zeros, extra={**_VMAP, "rule": "size 0"}, sampled=True, may_refuse=True
)
_NOTHING = (Case(Geometry(0, 2, 3, 9, 3)), Case(Geometry(2, 2, 3, 2, 3)))
test_inv_17_of_nothing = tries(
    "INV-17", vmap_is_a_loop, lambda c: c in _NOTHING, own=_NOTHING, extra=_VMAP, may_refuse=True, minimum=0
)
test_inv_17_special_values = tries(
    "INV-17", special_values_in_a_map, lambda c: c in _SIMPLE, own=_SIMPLE, extra=_VMAP, minimum=1
)
test_inv_17_bounds = tries(
    "INV-17",
    far_apart_in_a_map,
    lambda c: replace(c, recipe="lattice") in _REAL,
    own=_REAL,
    prepare=recipe("gaussian"),
    extra=_VMAP,
    minimum=1,
)
test_inv_17_refusals = refused_alike("INV-17", "in a map", of_operands(_RULES), _VMAP, mapped("xwb"), mapped("x"))
