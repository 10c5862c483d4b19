"""The protocol: a backend in another language is certified as any other, and its faults are seen as its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Backend, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import BackendProcess, Broken, Died
from conv1d_cts.conformance.probing import limits_of
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.test_conformance import computed_by_the_backend
from conv1d_cts.conformance.test_gradients_summed import tied_forward, tied_vjp
from conv1d_cts.conformance.test_maps import vmap_is_a_loop
from conv1d_cts.conformance.test_side_effects import leaves_a_tied_cotangent_alone
from conv1d_cts.conformance.values import forward_is_exact, gradient_is_exact
from conv1d_cts.spec.geometry import Geometry

HERE = Path(__file__).parent
PAGE = (HERE.parent / "spec" / "annex-protocol.md").read_text(encoding="utf-8")
CASE = Case(Geometry(2, 4, 6, 9, 3, stride=2, dilation=2, groups=2, padding=(1, 2)), "float64")


def surface_of(folder: Path, how: str) -> Surface:
    file = folder / how.replace(" ", "_") / "loops.py"  # one file rewritten within a second would meet its own .pyc
    file.parent.mkdir()
    command = [sys.executable, str(HERE / "protocol_backend.py"), how]
    file.write_text(f"from conv1d_cts.adapters.remote import Remote\nadapter = Remote({command!r})\n", encoding="utf-8")
    return Surface(Backend(AdapterSource("loops", path=str(file))), "functional")


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[Surface]:
    surface = surface_of(tmp_path, "well")
    yield surface
    surface.backend.close()


def test_a_process_is_driven_like_any_adapter(loops: Surface) -> None:
    forward_is_exact(loops, CASE)
    for wrt in ("x", "w", "xwb"):
        gradient_is_exact(wrt)(loops, CASE)
    for seed in range(8):  # each draws other axes
        vmap_is_a_loop(loops, replace(CASE, seed=seed))
    assert computed_by_the_backend(loops, CASE) == "loops.Array on a device it does not name"


def test_one_array_as_both_operands_is_computed_with_and_not_differentiated(loops: Surface) -> None:
    case = Case(Geometry(3, 2, 3, 4, 4, padding=(2, 1)), "float64", seed=1)
    tied_forward(loops, case)
    with pytest.raises(Refused, match="one array is two of them"):
        tied_vjp(loops, case)


def test_a_process_says_which_device_computed(tmp_path: Path) -> None:
    for how, complaint in (
        ("on gpu", ""),
        ("strays", "is on cpu, not on gpu"),
        ("says nothing", "a device that nobody"),
    ):
        surface = surface_of(tmp_path, how)
        surface.backend.device = "gpu"
        try:
            own = surface.backend.describe()
            assert (own["device"], own["device_facts"]) == ("gpu", {"GPU": "of paper"})
            if complaint:
                with pytest.raises(Violation, match=complaint):
                    computed_by_the_backend(surface, CASE)
            else:
                assert computed_by_the_backend(surface, CASE) == "loops.Array on gpu"
        finally:
            surface.backend.close()


def test_what_it_declares_is_what_the_suite_knows(loops: Surface) -> None:
    own = loops.backend.describe()
    assert (own["name"], own["versions"], own["dtypes"]) == ("loops", {"loops": "1"}, ["float64"])
    assert own["transforms"] == ["vjp", "vmap"]
    assert own["limits"] is None


@pytest.mark.parametrize("value", [0.5, float("nan"), float("-inf"), None, "1", 2**70, [1]])
def test_an_argument_that_is_no_integer_arrives_and_is_refused(loops: Surface, value: object) -> None:
    call = call_of(CASE, operands(CASE))
    call.attributes["groups"] = value  # type: ignore[index]  # a plain dict underneath
    with pytest.raises(Refused):
        loops.answer(call)
    forward_is_exact(loops, CASE)


def test_an_integer_of_numpys_arrives_as_the_number(loops: Surface) -> None:
    call = call_of(CASE, operands(CASE))
    typed = {**call.attributes, "stride": np.int8(call.attributes["stride"])}
    (got,), (want,) = (loops.answer(one).results for one in (replace(call, attributes=typed), call))
    assert np.array_equal(require(got, "y"), require(want, "y"))


def test_the_limits_of_its_programs_are_exact(loops: Surface) -> None:
    """One array as x and its own cotangent is one call of the protocol; gradients in several threads are not."""
    leaves_a_tied_cotangent_alone(loops, Case(Geometry(2, 3, 3, 9, 3, padding=(1, 1)), "float64", bias=False))
    limits = limits_of(loops, loops.backend.describe())
    of_threads = {**CASE.facts(), "function": "vjp", "wrt": "xwb", "rule": "at once"}
    assert "the adapter takes one call after another" in [
        limit.reason for limit in limits if limit.when.holds(of_threads)
    ]


def test_derivatives_of_derivatives_are_refused(loops: Surface) -> None:
    with pytest.raises(Refused, match="no transforms of transforms"):
        loops.answer(call_of(CASE, operands(CASE), "vjp_of_vjp", "xwb", "x"))
    forward_is_exact(loops, CASE)


@pytest.mark.parametrize(
    ("how", "kind", "detail"),
    [("signal", "crash", "SIGABRT"), ("exit", "exit", "status 5"), ("noise", "exit", "status 76")],
)
def test_its_end_is_seen_as_it_was(tmp_path: Path, how: str, kind: str, detail: str) -> None:
    surface = surface_of(tmp_path, how)
    try:
        with pytest.raises(Died, match=detail) as death:
            forward_is_exact(surface, CASE)
        assert death.value.kind == kind
    finally:
        surface.backend.close()


def test_an_operand_that_it_changed_is_seen(tmp_path: Path) -> None:
    surface = surface_of(tmp_path, "modify")
    try:
        assert surface.answer(call_of(CASE, operands(CASE))).modified == ("x",)
    finally:
        surface.backend.close()


def test_another_version_is_an_error_of_the_installation(tmp_path: Path) -> None:
    surface = surface_of(tmp_path, "version")
    try:
        with pytest.raises(Broken, match="speaks protocol 2, not 1"):
            surface.backend.describe()
    finally:
        surface.backend.close()


def test_a_process_that_lacks_what_it_drives_says_so(tmp_path: Path) -> None:
    surface = surface_of(tmp_path, "missing")
    try:
        with pytest.raises(Broken, match="install the loops"):
            surface.backend.describe()
    finally:
        surface.backend.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")
def test_without_tensorflow_js_its_adapter_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_PATH", raising=False)
    process = BackendProcess(AdapterSource("tfjs", module="conv1d_cts.adapters.tfjs_adapter"), "cpu")
    try:
        with pytest.raises(Broken, match="npm install @tensorflow/tfjs"):
            process.describe()
    finally:
        process.close()


def test_the_frames_that_the_page_prints_are_the_protocols() -> None:
    """The bytes of the worked example, as the page prints them, are one frame: length, header, arrays."""
    (text,) = re.findall(r"^```hex\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    frame = bytes.fromhex(re.sub(r"#.*", "", text))
    end = 4 + int.from_bytes(frame[:4], "little")
    header = json.loads(frame[4:end])
    (entry,) = header["arrays"]
    assert header["type"] == "result"
    assert np.frombuffer(frame[end:], "<f4").reshape(entry["shape"]).tolist() == [[[3.0, -1.5]]]
    assert entry["bytes"] == len(frame) - end


def test_the_page_names_every_field_that_is_sent() -> None:
    source = (HERE.parent / "adapters" / "remote.py").read_text(encoding="utf-8")
    fields = set(re.findall(r'(?:own|answer|header|e)\["(\w+)"\]', source)) | set(
        re.findall(r'^ +"(\w+)":', source, re.M)
    )
    assert len(fields) >= 14
    assert [name for name in sorted(fields) if f"`{name}`" not in PAGE] == []
