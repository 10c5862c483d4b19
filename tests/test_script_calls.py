"""Scripts of compiled functions that are called on several operands, of shapes without data, of gathered gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.backend import Call, Flaw, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.maps import Level, Map
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.script_literals import Unwritten
from conv1d_cts.conformance.together import call_of_all, call_of_passes, call_of_sum, tied_call
from conv1d_cts.spec.geometry import Geometry
from tests.test_scripts import exit_codes, written

Array = np.ndarray[Any, Any]
CASE = Case(Geometry(2, 2, 3, 8, 3, dilation=2), seed=5)
SETS = [CASE, replace(CASE.with_geometry(length=9), seed=6)]
COMPILED = {
    "torch": "functional", "jax": "functional", "tensorflow": "functional", "mlx": "functional", "flax": "layer",
}  # fmt: skip
GATHERED = {"torch": True, "paddle": True, "keras-torch": False}  # whether there is a bias


def compiled(program: str) -> tuple[Call, list[Array]]:
    """A call on two sets of operands, and what is right."""
    results = {
        "compiled": lambda case: [oracle.forward(case, operands(case))],
        "compiled_vjp": lambda case: list(oracle.gradients(case, operands(case)).values()),
        "vjp_of_compiled": lambda case: [oracle.gradients(case, operands(case))["w"]],
    }
    return call_of_all(SETS, program), [result for case in SETS for result in results[program](case)]


def accumulated(wrt: str, bias: bool) -> tuple[Call, list[Array]]:
    """Three passes, other constants in each, and what is right."""
    case = replace(CASE, bias=bias)
    each = [operands(replace(case, seed=case.seed + offset)) for offset in range(3)]
    passes = [replace(given, **{name: getattr(each[0], name) for name in wrt}) for given in each]
    gradients = [oracle.gradients(case, given) for given in passes]
    return call_of_passes(case, passes, wrt), [np.sum([found[name] for found in gradients], axis=0) for name in wrt]


def judged(name: str, surface: str, call: Call, right: list[Array]) -> Iterator[tuple[str, int]]:
    """Scripts of the last result, told what is right and what is wrong, each with its exit code; and of a refusal."""
    at = tuple(extent // 2 for extent in right[-1].shape)
    for code in (0, 1):
        problem = Violation("wrong", flaw=Flaw("value", right[-1], right[-1][at].item() + code, at))
        yield written(name, surface, call, tuple(right), problem), code
    yield written(name, surface, call, tuple(right), Violation("refused", flaw=Flaw("refused"))), 0


def summed(bias: bool) -> tuple[Call, list[Array]]:
    """Two calls in one pass, and what is right."""
    cases = [replace(case, bias=bias) for case in (CASE, CASE.with_geometry(length=10, kernel=4))]
    sets = [operands(case) for case in cases]
    gradients = [
        oracle.gradients(case, replace(given, cotangent=sets[0].cotangent))
        for case, given in zip(cases, sets, strict=True)
    ]
    return call_of_sum(cases[0], sets), [found[name] for found in gradients for name in ("xwb" if bias else "xw")]


def run(told: Iterator[tuple[str, int]]) -> None:
    """Run the scripts; each ends with its code, and has no more than the 16 lines of any script."""
    scripts, codes = zip(*told, strict=True)
    assert exit_codes(list(scripts)) == list(codes), "\n".join(scripts)
    assert max(len(script.splitlines()) for script in scripts) <= 16


def need(name: str) -> None:
    """Skip the test where a framework of the backend is not installed."""
    if not all(find_spec(package) for package in name.split("-")):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("program", ["compiled", "compiled_vjp", "vjp_of_compiled"])
@pytest.mark.parametrize("name", COMPILED)
def test_a_script_compiles_once_and_calls_on_every_set(name: str, program: str) -> None:
    need(name)
    call, right = compiled(program)
    run(judged(name, COMPILED[name], call, right))


@pytest.mark.parametrize("name", COMPILED)
def test_a_script_gives_a_compiled_function_one_array_twice(name: str) -> None:
    need(name)
    case = Case(Geometry(2, 2, 2, 4, 4), bias=False)
    given, call = tied_call(case, "compiled", "xw")
    run(judged(name, COMPILED[name], call, [oracle.forward(case, given)]))
    given, call = tied_call(case, "vjp_of_compiled", "xw")
    gradients = oracle.gradients(case, given)
    call = replace(call, arrays={**call.arrays, "cotangent": given.cotangent})
    run(judged(name, COMPILED[name], call, [gradients["x"] + gradients["w"]]))


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "mlx"])
def test_a_script_differentiates_a_map_and_maps_a_derivative(name: str) -> None:
    need(name)
    mapping = Map(replace(CASE, bias=False), (Level("x", 2),))
    call = mapping.call_of_its_gradients()
    run(judged(name, "functional", call, mapping.want_its_gradients(call)))
    run(judged(name, "functional", mapping.call_of_gradients(), mapping.want_gradients()))


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "flax"])
def test_a_script_asks_for_shape_and_dtype_without_data(name: str) -> None:
    need(name)
    call = call_of(CASE, operands(CASE), "eval_shape", "xwb")
    shape = CASE.geometry.y_shape
    flaws = (("shape", shape, 0), ("shape", shape[1:], 1), ("dtype", "float32", 0), ("dtype", "float64", 1))
    told = ((Violation("wrong", flaw=Flaw(kind, want=want)), code) for kind, want, code in flaws)
    run((written(name, COMPILED[name], call, (), problem), code) for problem, code in told)


@pytest.mark.parametrize("name", GATHERED)
def test_a_script_gathers_the_gradients_of_all_passes(name: str) -> None:
    need(name)
    asked = ("w", "xb", "xwb") if GATHERED[name] else ("w", "x", "xw")
    run(script for wrt in asked for script in judged(name, "functional", *accumulated(wrt, GATHERED[name])))


@pytest.mark.parametrize("name", [*COMPILED, "paddle", "keras-torch", "keras-jax", "keras-tensorflow"])
def test_a_script_goes_back_through_several_calls(name: str) -> None:
    need(name)
    run(judged(name, COMPILED.get(name, "functional"), *summed(bias=not name.startswith("keras"))))


def test_without_a_way_to_gather_there_is_no_script() -> None:
    call, right = accumulated("w", bias=True)
    with pytest.raises(Unwritten, match="no gathering"):
        written("jax", "functional", call, tuple(right), Violation("refused", flaw=Flaw("refused")))
