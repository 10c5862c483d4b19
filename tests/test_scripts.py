"""The templates of adapters/scripts write the calls that the adapters make: what is right comes out of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conv1d_cts.adapters import registry, scripts
from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.backend import Answer, Backend, Call, Flaw, Refused, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, arrange
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.maps import Level, Map
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.reproducer import write
from conv1d_cts.conformance.script_literals import Unwritten
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.spec.geometry import Geometry
from tests.adapter_files import adapter_file

Array = np.ndarray[Any, Any]
PLAIN = Case(Geometry(2, 4, 6, 9, 3, stride=2, groups=2, padding=(1, 1)), seed=1)
NAMED = Case(Geometry(1, 2, 3, 8, 3, dilation=2, padding="same"), bias=False)
UNPADDED = Case(Geometry(1, 2, 3, 8, 3, dilation=2))
UNEVEN = Case(Geometry(1, 2, 3, 8, 3, padding=(2, 1)), padding_mode="reflect", seed=3)
CAUSAL = Case(Geometry(1, 4, 6, 8, 3, stride=2, groups=2, padding="causal"), seed=2)
UNEVEN_ZEROS = replace(UNEVEN, padding_mode="zeros")
DEPTHWISE = Case(Geometry(2, 3, 6, 8, 3, groups=3, padding="same"), seed=4)
KERAS = (
    ("functional", NAMED), ("channels-first", NAMED), ("padded", replace(UNEVEN, bias=False)),
    ("layer", UNPADDED), ("layer", replace(CAUSAL, bias=False)),
)  # fmt: skip
CALLS = {  # backend: surface, case, programs
    "torch": (
        ("functional", PLAIN),
        ("functional", NAMED),
        ("padded", UNEVEN),
        ("layer", PLAIN),
        ("conv2d", PLAIN),
        ("unbatched", PLAIN),
        ("reloaded", PLAIN),
    ),
    "jax": (
        ("functional", PLAIN),
        ("functional", NAMED),
        ("padded", UNEVEN),
        ("conv2d", PLAIN),
        ("channels-last", PLAIN),
        ("mixed", PLAIN),
        ("preferred", PLAIN),
    ),
    "tensorflow": (
        ("functional", UNPADDED),
        ("functional", NAMED),
        ("padded", UNEVEN),
        ("conv2d", UNEVEN_ZEROS),
        ("channels-first", replace(NAMED, bias=True)),
        ("convolution", UNPADDED),
        ("graph", UNPADDED),
    ),
    "mlx": (("functional", PLAIN), ("general", UNEVEN_ZEROS), ("conv2d", PLAIN)),
    "paddle": (("functional", PLAIN), ("functional", UNEVEN_ZEROS)),
    "onnx": (("functional", PLAIN), ("functional", NAMED), ("conv2d", PLAIN)),
    "onnxruntime": (("functional", PLAIN), ("dynamic", PLAIN), ("conv2d", PLAIN)),
    "tinygrad": (("functional", PLAIN), ("functional", UNEVEN_ZEROS), ("padded", UNEVEN), ("conv2d", PLAIN)),
    "flax": (("layer", PLAIN), ("layer", NAMED), ("layer", replace(CAUSAL, bias=False)), ("reloaded", PLAIN)),
    "keras-torch": (*KERAS, ("depthwise", DEPTHWISE), ("reloaded", UNPADDED)),
    "keras-tensorflow": KERAS[:3],  # tf.vectorized_map lets no layer be made inside it
    "keras-jax": (*KERAS, ("depthwise", DEPTHWISE), ("reloaded", UNPADDED)),
    "keras-numpy": (*KERAS, ("depthwise", DEPTHWISE), ("reloaded", UNPADDED)),
    "openvino": (("functional", NAMED), ("float32", PLAIN), ("dynamic", PLAIN)),
}
PROGRAMS = ("conv1d", "vjp", "jvp", "vmap", "vjp_of_vjp", "jvp_of_vjp")
LEVELS = (Level("x", 2), Level("xw", 3))
_BOUNDED = ((0.5, 1.0, 0), (2, 1.0, 1))  # an error, its bound, and the exit code
_RUN_ALL = """
import json, sys
codes = []
for script in json.load(sys.stdin):
    try:
        exec(compile(script, "reproducer.py", "exec"), {})
    except SystemExit as end:
        codes.append(int(bool(end.code)))
    except Exception as error:
        codes.append(f"{type(error).__name__}: {error}")
    else:
        codes.append(0)
print("codes", json.dumps(codes))
"""


def results(case: Case, program: str) -> dict[str, Array]:
    """What is right, by result; second derivatives are those of the gradient in x."""
    given = operands(case)
    wrt = "xwb" if case.bias else "xw"
    if program == "conv1d":
        return {"y": oracle.forward(case, given)}
    if program == "vjp":
        return oracle.gradients(case, given)
    if program == "jvp":
        return {"y": oracle.tangent(case, given, wrt)}
    if program == "vmap":
        return {"y": Map(case, LEVELS).want()}
    if program == "vjp_of_vjp":
        return oracle.second_vjp(case, given, "x")
    return {"y": oracle.second_jvp(case, given, "x")}


def call(case: Case, program: str) -> Call:
    if program == "vmap":
        return Map(case, LEVELS).call()
    return call_of(case, operands(case), program, "xwb" if case.bias else "xw", "x")


def written(name: str, surface: str, asked: Call, got: tuple[Array, ...], problem: Violation | Died) -> str:
    return write(Backend(registry.find(name)), (surface, [asked], [Answer(got, (), (), (), ("cpu",))]), problem)


def every_script(name: str) -> Iterator[tuple[str, int]]:
    """Scripts with the exit code that they must have: what is right and what is wrong, of each program."""
    macros = scripts.load(registry.find(name))
    programs = [p for p in PROGRAMS if hasattr(macros, p.removesuffix("_of_vjp").replace("conv1d", "call"))]
    for (surface, case), program in ((place, p) for place in CALLS[name] for p in programs):
        if surface == "reloaded" and program != "conv1d":
            continue
        want = results(case, program)
        got = tuple(want.values())
        asked = call(case, program)
        for array in got:
            at = tuple(extent // 2 for extent in array.shape)
            right = array[at].item()
            for off, bound, code in ((0, 0.0, 0), (1, 0.0, 1), *(_BOUNDED if program == "conv1d" else ())):
                flaw = Flaw("value", array, right + off, at, bound)
                yield written(name, surface, asked, got, Violation("wrong", flaw=flaw)), code
            for dtype in (case.dtype, "float64"):
                flaw = Flaw("dtype", array, dtype)
                yield written(name, surface, asked, got, Violation("wrong", flaw=flaw)), int(dtype != case.dtype)
            for shape in (array.shape, (1, *array.shape)):
                flaw = Flaw("shape", array, shape)
                yield written(name, surface, asked, got, Violation("wrong", flaw=flaw)), int(shape != array.shape)
        for kind, code in (("refused", 0), ("accepted", 1), ("shared", 0), ("changed", 0)):
            flaw = Flaw(kind, want=tuple(n for n, array in asked.arrays.items() if array is not None))
            yield written(name, surface, asked, got, Violation("wrong", flaw=flaw)), code
    yield written(name, surface, asked, got, Died("crash", "SIGSEGV")), 0
    if name in SETTINGS:  # it has devices that can be lost
        yield written(name, surface, asked, got, Died("crash", "an illegal memory access", lost=True)), 0


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_a_script_of_one_array_as_both_operands_has_it_once(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    case = Case(Geometry(3, 2, 3, 2, 2, padding="same"), bias=False, seed=1)
    given = operands(case)
    both = replace(given, w=given.x)
    gradients = oracle.gradients(case, both)
    told = []
    for program, right in (("conv1d", oracle.forward(case, both)), ("vjp", gradients["x"] + gradients["w"])):
        asked = call_of(case, given, program, "x")
        asked = replace(asked, arrays={name: array for name, array in asked.arrays.items() if name != "w"})
        for off in (0, 1):
            flaw = Flaw("value", right, right[0, 0, 0].item() + off, (0, 0, 0))
            told.append(written(name, "functional", asked, (right,), Violation("wrong", flaw=flaw)))
    assert exit_codes(told) == [0, 1, 0, 1], told
    assert all("\nw = " not in script for script in told)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_script_of_torch_has_its_operands_laid_out_as_they_were(layout: str) -> None:
    torch_adapter = pytest.importorskip("conv1d_cts.adapters.torch_adapter", exc_type=ImportError)
    case = replace(UNPADDED, layout=layout, seed=5)
    asked = call(case, "vjp")
    flaw = Flaw("value", (got := results(case, "vjp")["x"]), got[0, 0, 0].item(), (0, 0, 0))
    script = written("torch", "functional", asked, (got,), Violation("wrong", flaw=flaw))
    names: dict[str, Any] = {}
    with pytest.raises(SystemExit) as end:
        exec(compile(script, "reproducer.py", "exec"), names)
    assert not end.value.code
    for name in ("x", "w", "b", "cotangent"):
        want = torch_adapter.to_native(arrange(asked.arrays[name], layout), "cpu")
        assert names[name].equal(want)
        assert names[name].stride() == want.stride()


SETTINGS = {
    "torch": "torch.backends.cudnn.allow_tf32 = False",
    "jax": 'jax.config.update("jax_default_matmul_precision", "highest")',
    "tensorflow": "tf.config.experimental.enable_tensor_float_32_execution(False)",
    "keras-torch": "torch.backends.cudnn.allow_tf32 = False",
}


@pytest.mark.parametrize(
    ("name", "surface", "line"),
    [
        *((name, "tf32-off", line) for name, line in SETTINGS.items()),
        ("torch", "mkldnn-off", "torch.backends.mkldnn.enabled = False"),
    ],
)
def test_a_script_has_the_settings_of_its_surface(name: str, surface: str, line: str) -> None:
    case = replace(UNPADDED, bias=False)
    for asked, times in (("functional", 0), (surface, 1)):
        want = results(case, "conv1d")["y"]
        problem = Violation("wrong", flaw=Flaw("value", want, 1.0, (0, 0, 0)))
        script = written(name, asked, call(case, "conv1d"), (want,), problem)
        assert script.splitlines().count(line) == times


@pytest.mark.parametrize("name", CALLS)
def test_a_script_ends_with_1_where_its_call_is_wrong_and_with_0_where_it_is_right(name: str) -> None:
    if not all(find_spec(package) for package in name.split("-")):
        pytest.skip(f"{name} is not installed")
    expected = list(every_script(name))
    run = subprocess.run(
        [sys.executable, "-c", _RUN_ALL], input=json.dumps([script for script, _ in expected]), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    codes = json.loads(run.stdout.rpartition("codes ")[2])
    wrong = [(code, found, script) for (script, code), found in zip(expected, codes, strict=True) if code != found]
    assert not wrong, "\n".join(map(str, wrong[0]))
    assert max(len(script.splitlines()) for script, _ in expected) <= 16


TEMPLATE = """
{% set imports, definitions = "import numpy as np", "" %}
{% macro array(values, dtype, device) %}np.array({{ values }}, {{ dtype|py }}){% endmacro %}
{% macro call(surface, b, stride, padding, dilation, groups) %}CALL{% endmacro %}
"""


LOSES_ITS_LAST = "return correct.conv1d(x, w, b, **parameters)[..., :-1]"


def evidence(folder: Path, call: str, clause: str = "SHAPE-2", body: str = LOSES_ITS_LAST) -> dict[str, Any]:
    """Of a clause on a backend with that body, with a template that writes its call as given."""
    path = adapter_file(folder, body)
    if call:
        path.with_suffix(".py.j2").write_text(TEMPLATE.replace("CALL", call), encoding="utf-8")
    session = Session(Options(str(path), profile="quick", python=sys.executable, shrink_seconds=2.0))
    try:
        check = next(check for _, check in checks() if check.clause == clause and "function" not in check.extra)
        return session.run(check, "functional").failure
    finally:
        session.close()


def test_a_failure_comes_with_a_script_that_was_run(tmp_path: Path) -> None:
    shown = evidence(tmp_path, "np.zeros((1, 1, 0))")
    assert shown["reproduces"] is True
    assert "import numpy as np\n" in shown["reproducer"]
    assert "conv1d_cts" not in shown["reproducer"]


def test_a_script_of_a_lazy_framework_computes_what_ends_its_process(tmp_path: Path) -> None:
    ends = "[__import__('sys').stdout.flush(), __import__('os')._exit(0)]"
    lazy = f"type('Lazy', (), {{'__repr__': lambda own: {ends}}})()"
    shown = evidence(tmp_path, lazy, body="import os; os._exit(0)")
    assert shown["reproduces"] is True, shown


@pytest.mark.parametrize(
    ("clause", "body", "call"),
    [
        ("INV-1", "x += 1; return correct.conv1d(x, w, b, **parameters)", "x.__iadd__(1)"),
        ("INV-2", "y = correct.conv1d(x, w, b, **parameters); return x if np.array_equal(x, y) else y", "x"),
    ],
)
def test_a_script_shows_whose_memory_is_changed_or_shared(tmp_path: Path, clause: str, body: str, call: str) -> None:
    shown = evidence(tmp_path, call, clause, body)
    assert shown["reproduces"] is True, shown
    assert "given = {'x': " in shown["reproducer"]


@pytest.mark.parametrize("call", ["np.zeros((1, 1, 1))", "np.zeros(1 / 0)"])
def test_a_script_that_shows_nothing_or_fails_by_itself_is_marked(tmp_path: Path, call: str) -> None:
    assert evidence(tmp_path, call)["reproduces"] is False


def test_without_a_template_the_certificate_says_why_there_is_no_script(tmp_path: Path) -> None:
    shown = evidence(tmp_path, "")
    assert shown["no reproducer"] == "no template says how a call of scratch is written"
    assert "reproducer" not in shown


OVERWRITTEN = """if calls > 1 and shown.shape == correct.conv1d(x, w, b, **parameters).shape:
        shown[...] = correct.conv1d(x, w, b, **parameters)
        return shown
    globals()["shown"] = correct.conv1d(x, w, b, **parameters)
    return shown"""
STUCK = """before = globals().get("last", w)
    globals()["last"] = w
    w = before if before.shape == w.shape else w"""


@pytest.mark.parametrize(("named", "fault"), [("test_inv_8_results_stay", OVERWRITTEN), ("test_inv_7_no_state", STUCK)])
def test_a_fault_between_calls_has_a_script_that_makes_them(tmp_path: Path, named: str, fault: str) -> None:
    path = adapter_file(tmp_path, fault)
    parameters = ", ".join(f"{name}={{{{ {name}|py }}}}" for name in ("stride", "padding", "dilation", "groups"))
    text = TEMPLATE.replace("CALL", f"scratch.conv1d(x, w, b, {parameters})")
    text += "{% macro scalar(element) %}{{ element }}.item(){% endmacro %}\n"
    imports = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scratch, numpy as np"
    path.with_suffix(".py.j2").write_text(text.replace('"import numpy as np"', repr(imports)), encoding="utf-8")
    session = Session(Options(str(path), profile="quick", python=sys.executable, shrink_seconds=2.0))
    try:
        check = next(check for name, check in checks() if name.endswith(named))
        shown = session.run(check, "functional").failure
    finally:
        session.close()
    assert shown.get("reproduces") is True, shown
    assert len(shown["reproducer"].splitlines()) <= 16


def sequence_of(name: str, calls: list[Call], answers: list[Answer | Refused], problem: Violation) -> str:
    return write(Backend(registry.find(name)), ("functional", calls, answers), problem)


def exit_codes(scripts_run: list[str]) -> list[Any]:
    run = subprocess.run(
        [sys.executable, "-c", _RUN_ALL], input=json.dumps(scripts_run), capture_output=True, text=True, check=True
    )
    found: list[Any] = json.loads(run.stdout.rpartition("codes ")[2])
    return found


@pytest.mark.parametrize("program", ["conv1d", "vjp"])
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_a_script_of_several_calls_looks_at_the_result_that_was_judged(name: str, program: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    case = replace(UNPADDED, bias=False)
    several = [replace(case, seed=seed) for seed in (1, 2, 1)]
    got = [tuple(results(one, program).values()) for one in several]
    answers = [Answer(y, (), (), (), "cpu", later=tuple(a.copy() for a in y)) for y in got]
    malformed = replace(call(case, program), attributes={**case.attributes, "stride": -1})
    calls = [call(one, program) for one in several]
    first, second, third, at = got[0][0], got[1][0], got[2][0], (0,) * 3
    right = second[at].item()
    flaws = [
        (Flaw("bits", answers[0].later[0], first, at), 0), (Flaw("bits", third, first, at), 0),
        (Flaw("bits", second, first, at), 1), (Flaw("value", second, right, at), 0),
        (Flaw("value", second, right + 1, at), 1),
    ]  # fmt: skip
    told = [sequence_of(name, calls, list(answers), Violation("", flaw=flaw)) for flaw, _ in flaws]
    refused = [answers[0], Refused({"type": "ValueError", "message": "no", "where": ""}), answers[2]]
    told.append(sequence_of(name, [calls[0], malformed, calls[2]], list(refused), Violation("", flaw=flaws[1][0])))
    assert exit_codes(told) == [*(code for _, code in flaws), 0], told
    assert max(len(script.splitlines()) for script in told) <= 16


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_script_makes_the_calls_of_a_program_that_composes_several(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    case = replace(UNPADDED, bias=False)
    given, other = operands(case), case.with_geometry(dilation=1)
    plain = call_of(case, given, "conv1d", "xw")
    stacks = {name: np.stack([array] * 2) for name, array in {**plain.arrays, **_along(given)}.items() if name != "b"}
    mapped = replace(plain, program="vmap", axes=((0, 0),), arrays={**stacks, "b": None})
    along = oracle.tangent(case, given, "xw")
    asked = [
        (
            replace(plain, program="each", others=(other.attributes,)),
            (oracle.forward(case, given), oracle.forward(other, given)),
        ),
        (replace(mapped, program="jvp_of_vmap"), (np.stack([along] * 2),)),
        (replace(mapped, program="vmap_of_jvp", axes=((0,) * 4,)), (np.stack([along] * 2),)),
        *(
            (replace(mapped, program=program), (np.stack([oracle.forward(case, given)] * 2),))
            for program in ("compiled_vmap", "vmap_of_compiled")
            if name == "jax"  # torch's compiler takes its time, and maps nothing that it compiled
        ),
    ]
    told, codes = [], []
    for one, got in asked:
        at = tuple(extent // 2 for extent in got[-1].shape)
        for off in (0, 1):
            flaw = Flaw("value", got[-1], got[-1][at].item() + off, at)
            told.append(written(name, "functional", one, got, Violation("wrong", flaw=flaw)))
            codes.append(off)
    assert exit_codes(told) == codes, told


def _along(given: Operands) -> dict[str, Array]:
    return {f"{name}_tangent": given.tangents[name] for name in "xw"}


def test_operands_too_large_to_print_are_not_written() -> None:
    large = replace(UNPADDED, geometry=Geometry(4, 64, 1, 64, 1))
    with pytest.raises(Unwritten, match="too large to print"):
        written("torch", "functional", call(large, "conv1d"), (), Violation("refused", flaw=Flaw("refused")))
