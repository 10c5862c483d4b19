"""Devices: their names, what the certificate says of them, and where results must be; on devices that are fakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conv1d_cts import reports
from conv1d_cts.adapters import cuda, devices, known_deviations, processor
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Backend, Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.isolation.place import Place
from conv1d_cts.conformance.ledger import row
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.conformance.test_conformance import computed_by_the_backend, gradients_by_the_backend
from conv1d_cts.spec.clauses import clauses
from conv1d_cts.spec.geometry import Geometry
from tests.fake_device import fake_device

CASE = Case(Geometry(2, 4, 6, 9, 3))
TORCH, JAX, TENSORFLOW = ["cpu", "cuda:0", "cuda:1"], ["cpu", "gpu", "gpu:1"], ["cpu", "cpu:1", "gpu"]


@pytest.mark.parametrize(
    ("asked", "offered", "found"),
    [
        ("cpu", TORCH, "cpu"), ("cpu:0", JAX, "cpu"), ("cpu:1", TENSORFLOW, "cpu:1"), ("cpu:1", JAX, ""),
        ("cuda", TORCH, "cuda:0"), ("gpu", TORCH, "cuda:0"), ("cuda:1", TORCH, "cuda:1"), ("gpu:1", TORCH, "cuda:1"),
        ("cuda", JAX, "gpu"), ("gpu", JAX, "gpu"), ("cuda:0", JAX, "gpu"), ("cuda:1", JAX, "gpu:1"),
        ("cuda:2", TORCH, ""), ("cuda", ["cpu"], ""), ("gpu", ["cpu", "cpu:1"], ""), ("", TORCH, ""),
        ("gpu", ["cpu", "mps"], "mps"), ("cuda", ["cpu", "mps"], ""), ("mps:0", ["cpu", "mps"], "mps"),
        ("gpu:1", ["cpu", "xpu:0", "xpu:1"], "xpu:1"), ("CUDA", TORCH, "cuda:0"),
    ],
)  # fmt: skip
def test_a_device_has_the_names_that_users_know(asked: str, offered: list[str], found: str) -> None:
    assert devices.resolve(asked, offered) == found


@contextmanager
def on(source: AdapterSource, device: str) -> Iterator[Surface]:
    backend = Backend(source, device)
    try:
        yield Surface(backend, "functional")
    finally:
        backend.close()


@contextmanager
def session(path: Path, **options: Any) -> Iterator[Session]:
    opened = Session(
        Options(str(path), **{"profile": "quick", "python": sys.executable, "shrink_seconds": 1.0, **options})
    )
    try:
        yield opened
    finally:
        opened.close()


def verdicts(opened: Session, *names: str) -> dict[str, dict[str, Any]]:
    """The rows of the clauses, all checks of which were carried out."""
    for _, check in checks():
        if check.clause in names:
            opened.run(check, "functional")
    return {clause: row(opened.tallies[clause, "functional"]) for clause in names}


def test_a_certificate_names_the_device_and_what_computes_on_it(tmp_path: Path) -> None:
    with session(fake_device(tmp_path), device="gpu") as opened:
        found = verdicts(opened, "CONF-1", "SHAPE-2")
        path = opened.finish(tmp_path, interrupted=False)
    assert path.name == "fake-cuda0.json"
    assert {clause: one["verdict"] for clause, one in found.items()} == dict.fromkeys(found, "pass")
    backend = reports.load(path)["backend"]
    assert backend["device"] == "cuda:0"
    assert backend["device_facts"] == {"GPU": "Fake 0", "driver": "1.2.3"}
    assert found["CONF-1"]["evidence"]["finding"].startswith("numpy.Array on cuda:0")


def test_of_the_processor_a_certificate_names_the_instruction_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(fake_device(tmp_path)) as opened:
        assert opened.certificate(interrupted=False)["backend"].get("device_facts", {}) == processor.facts()
    lines = "processor\t: 0\nmodel name\t: Paper CPU\nflags\t\t: fpu avx2 sse4_1 amx_bf16\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **how: lines)
    assert processor.instruction_sets() == ["fpu", "avx2", "sse4_1", "amx_bf16"]
    assert processor.facts() == {"model": "Paper CPU", "sets": "avx2 sse4_1 amx_bf16"}
    monkeypatch.setattr(Path, "read_text", lambda self, **how: "Features\t: fp asimd sve\n")
    assert processor.facts() == {"sets": "asimd sve"}


@pytest.mark.parametrize(
    ("asked", "fault", "message"),
    [
        ("cuda:0", "at = 'cpu'", "the result is on cpu, not on cuda:0"),
        ("cuda:1", "at = 'cuda:0'", "the result is on cuda:0, not on cuda:1"),
        ("cpu", "at = 'cuda:0'", "the result is on cuda:0, not on cpu"),
    ],
)
def test_a_result_from_another_device_is_caught(tmp_path: Path, asked: str, fault: str, message: str) -> None:
    source = AdapterSource("fake", path=str(fake_device(tmp_path, fault)))
    with on(source, asked) as surface, pytest.raises(Violation, match=message):
        computed_by_the_backend(surface, CASE)


def test_a_gradient_from_another_device_is_caught(tmp_path: Path) -> None:
    strays = "\n\ndef vjp(f, primals, cotangent):\n    return [placed(np.asarray(p), 'cpu') for p in primals]\n"
    with on(AdapterSource("fake", path=str(fake_device(tmp_path, more=strays))), "cuda:0") as surface:
        computed_by_the_backend(surface, CASE)
        with pytest.raises(Violation, match="the result is on cpu, not on cuda:0"):
            gradients_by_the_backend(surface, CASE)


def test_who_names_no_device_is_believed_on_the_cpu_alone(tmp_path: Path) -> None:
    silent = "\n\ndel device_of\n"
    source = AdapterSource("fake", path=str(fake_device(tmp_path, more=silent)))
    with on(source, "cuda:0") as surface, pytest.raises(Violation, match="the result is on cpu"):
        computed_by_the_backend(surface, CASE)  # numpy's own word for its arrays
    with on(source, "cpu") as surface:
        assert computed_by_the_backend(surface, CASE) == "numpy.Array on cpu"


def test_memory_that_is_shared_on_a_device_is_seen_by_the_adapter_or_not_at_all(tmp_path: Path) -> None:
    alias = "if length == w.shape[-1] == 1: return x[:]"
    with session(fake_device(tmp_path, alias), device="gpu") as opened:
        assert verdicts(opened, "INV-2")["INV-2"]["verdict"] == "fail"
    blind = fake_device(tmp_path, alias, more="\n\ndel shares_memory\n")
    with session(blind, device="gpu") as opened:
        assert verdicts(opened, "INV-2")["INV-2"]["verdict"] == "vacuous"


def test_freed_memory_of_a_device_is_poisoned_too() -> None:
    placed: list[np.ndarray[Any, Any]] = []
    adapter = SimpleNamespace(to_native=lambda array, device: placed.append(array), conv1d=None)
    result = np.zeros((2, 3), np.float32)
    Place(adapter, "cuda:0").poison([result])
    assert [(a.dtype, a.nbytes, set(a.tobytes())) for a in placed] == [(result.dtype, result.nbytes, {0xFF})] * 4
    Place(adapter, "cpu").poison([result])
    assert len(placed) == 4


ENTRY = """
[[deviation]]
clauses = ["SHAPE-7"]
surfaces = ["functional"]
when = "c_in == 0"
kind = "fail"
reason = "the output channels are lost"
reproducer = "raise SystemExit(1)"
"""


@pytest.mark.parametrize(
    ("line", "device", "count"),
    [("", "cpu", 1), ("", "cuda:0", 0), ('devices = ["cuda"]', "cuda:1", 1), ('devices = ["cuda"]', "cpu", 0),
     ('devices = ["cpu", "gpu"]', "cpu:1", 1)],
)  # fmt: skip
def test_an_entry_speaks_of_its_devices_only(tmp_path: Path, line: str, device: str, count: int) -> None:
    path = tmp_path / "fake.toml"
    path.write_text(ENTRY + line, encoding="utf-8")
    assert len(known_deviations.load("fake", {}, path=str(path), device=device)) == count


def test_a_condition_knows_a_device_by_its_kind(tmp_path: Path) -> None:
    refusing = "\n\nlimits = {\"device == 'cuda' and stride > 1\": 'no strides there'}\n"
    fault = "if at != 'cpu' and parameters['stride'] > 1: raise NotImplementedError"
    for device in ("cuda:1", "cpu"):
        with session(fake_device(tmp_path, fault, more=refusing), device=device) as opened:
            found = verdicts(opened, "OP-2")["OP-2"]
            assert found["verdict"] == ("pass" if device == "cpu" else "unsupported")


MAPS = """\
7f10-7f20 r-xp 00000000 08:01 12 /usr/lib/libcuda.so.1
7f20-7f30 r-xp 00000000 08:01 13 /some where/nvidia/cudnn/lib/libcudnn.so.9
7f30-7f40 rw-p 00000000 00:00 0
7f40-7f50 r-xp 00000000 08:01 13 [vdso]
"""
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder)\nGCC version: 12"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.12  Wed Sep 20 09:35:17 UTC 2023\n"


def test_versions_of_cuda_are_read_as_it_writes_them() -> None:
    assert cuda.loaded(MAPS) == {
        "libcuda": "/usr/lib/libcuda.so.1", "libcudnn": "/some where/nvidia/cudnn/lib/libcudnn.so.9"
    }  # fmt: skip
    assert [cuda.driver(text) for text in (OPEN, CLOSED, "")] == ["550.54.14", "535.104.12", ""]
    assert [cuda.cuda_version(n) for n in (12040, 11080, 13000)] == ["12.4", "11.8", "13.0"]
    assert [cuda.cudnn_version(n) for n in (90100, 91002, 8907)] == ["9.1.0", "9.10.2", "8.9.7"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux alone shows what a process has loaded")
def test_a_library_that_is_loaded_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the C library in cuDNN's place: a function of it that takes nothing and gives a number."""
    asked = {"process": ("libc", lambda library: str(library.getpid()))}
    monkeypatch.setattr(cuda, "_LIBRARIES", {**asked, "absent": ("libnosuch", lambda library: "1")})
    monkeypatch.setattr(cuda, "_DRIVER", Path("/no/such/file"))
    assert list(cuda.facts()) == ["process"]


def test_the_adapter_of_cupy_runs_on_what_cupy_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fake_cupy"))
    source = AdapterSource("cupy", module="conv1d_cts.adapters.cupy_adapter")
    with on(source, "gpu:1") as surface:
        own = surface.backend.describe()
        surface.backend.device = own["device"]
        assert (own["devices"], own["device"], own["limits"]) == (["cuda:0", "cuda:1"], "cuda:1", {})
        facts = {name: own["device_facts"][name] for name in ("GPU", "compute capability", "CUDA")}
        assert facts == {"GPU": "Fake GPU", "compute capability": "9.0", "CUDA": "12.4"}
        assert computed_by_the_backend(surface, CASE) == "cupy.ndarray on cuda:1"
        assert not surface.answer(call_of(CASE, operands(CASE))).aliases


def test_two_devices_of_a_backend_are_two_columns(tmp_path: Path) -> None:
    for device in ("cpu", "gpu"):
        with session(fake_device(tmp_path), device=device) as opened:
            verdicts(opened, "SHAPE-2")
            opened.finish(tmp_path, interrupted=False)
    paths = reports.write_report(tmp_path)
    html = paths.index.read_text(encoding="utf-8")
    for device in ("cpu", "cuda-0"):
        assert f'<article class="panel" id="fake-{device}"' in html
        assert html.count(f'data-b="fake-{device}"') > len(clauses())
    assert "driver 1.2.3" in html
    assert {path.name for path in paths.badges} == {
        f"fake-{device}.{kind}" for device in ("cpu", "cuda0") for kind in ("svg", "json")
    }
    labels = [path.read_text(encoding="utf-8") for path in paths.badges if path.suffix == ".json"]
    assert [("conv1d fake on cuda:0" in label, "conv1d fake\"" in label) for label in labels] == [
        (False, True), (True, False)
    ]  # fmt: skip
    found = reports.diff(*(reports.load(tmp_path / f"fake-{device}.json") for device in ("cpu", "cuda0")))
    assert (found.old.rpartition(" on ")[2], found.new.rpartition(" on ")[2]) == ("cpu", "cuda:0")
    assert "on cuda:0" in paths.summary.read_text(encoding="utf-8")
