"""On a real GPU, where there is one: the device, the arithmetic with and without TF32, a fault that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conv1d_cts import reports
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Backend, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.certify import explain_broken
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.session import Options, Session, UnknownOptionError
from conv1d_cts.spec.geometry import Geometry

BACKENDS = ("torch", "jax", "tensorflow", "keras-torch", "cupy")


@pytest.fixture(scope="module", params=BACKENDS)
def on_gpu(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session of a backend on the first GPU; skipped by name where the backend or its GPU is missing."""
    try:
        opened = Session(Options(request.param, "gpu", profile="quick", python=sys.executable))
    except (Broken, UnknownOptionError) as reason:
        told = explain_broken(reason, sys.executable) if isinstance(reason, Broken) else str(reason)
        pytest.skip(f"{request.param} on a GPU: {told}")
    yield opened
    opened.close()


def carried_out(opened: Session, surface: str, *clauses: str) -> list[str]:
    """Verdicts other than pass of the clauses' checks on a surface."""
    found = []
    for name, check in checks():
        if check.clause in clauses:
            tally = opened.run(check, surface)
            if tally.verdict not in ("pass", "unsupported"):
                found.append(f"{name}: {tally.verdict}: {tally.failure.get('message')}")
    return found


def test_results_are_on_the_gpu_and_the_certificate_names_it(on_gpu: Session, tmp_path: Path) -> None:
    assert carried_out(on_gpu, on_gpu.surface_names[0], "CONF-1", "SHAPE-2", "OP-7") == []
    backend = reports.load(on_gpu.finish(tmp_path, interrupted=False))["backend"]
    assert backend["device"].partition(":")[0] in ("cuda", "gpu")
    assert {"GPU", "driver"} <= set(backend["device_facts"])


def test_without_tf32_float32_is_computed_in_ieee_arithmetic(on_gpu: Session) -> None:
    if "tf32-off" not in on_gpu.description["surfaces"]:
        pytest.skip(f"{on_gpu.name} has no surface tf32-off")
    opened = Session(
        Options(on_gpu.options.backend, "gpu", ("functional", "tf32-off"), profile="quick", python=sys.executable)
    )
    try:
        for surface in opened.surface_names:
            carried_out(opened, surface, "ARITH-1")
        classes = {row["surface"]: row["class"] for row in opened.arithmetic() if row["dtype"] == "float32"}
    finally:
        opened.close()
    assert classes["tf32-off"] == "ieee"
    assert classes["functional"] in ("tf32", "ieee")  # by the GPU's generation


_FAULTY = """
from conv1d_cts.adapters.torch_adapter import *


def conv1d(x, w, b, **parameters):
    if x.shape[-1] == 17:  # the index is looked at on the device, after this call has returned
        x.flatten()[torch.tensor([10**6], device=x.device)]
    return F.conv1d(x, w, b)


surfaces = {"functional": conv1d}
"""


def test_a_fault_that_stays_takes_its_process_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(_FAULTY, encoding="utf-8")
    backend = Backend(AdapterSource("faulty", path=str(path)), "cuda")
    calls = [call_of(case, operands(case)) for case in (Case(Geometry(1, 2, 2, n, 3)) for n in (16, 17))]
    try:
        try:
            own = backend.describe()
        except Broken as reason:
            pytest.skip(f"torch on a GPU: {explain_broken(reason, sys.executable)}")
        if not own["device"]:
            pytest.skip(f"torch on a GPU: it has {', '.join(own['devices'])}")
        backend.answer("functional", calls[0])
        with pytest.raises(Died, match="the device fails every other one") as info:
            backend.answer("functional", calls[1])
        assert info.value.lost
        backend.answer("functional", calls[0])
    finally:
        backend.close()
