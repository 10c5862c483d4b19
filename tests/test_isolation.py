"""The process boundary with real processes: every way to die is told apart, and none of them takes the suite along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import execnet
import numpy as np
import psutil
import pytest

from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Backend, Refused, Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.certify import SUITE
from conv1d_cts.conformance.isolation.process import Broken, Died, Interpreter, Limits
from conv1d_cts.conformance.isolation.wire import decode_attributes, encode_attributes
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.test_conformance import computed_by_the_backend
from conv1d_cts.spec.geometry import Geometry
from tests.adapter_files import adapter_file

CASE = Case(Geometry(2, 4, 6, 9, 3))
CALL = call_of(CASE, operands(CASE))


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def surface_of(path: Path, limits: Limits | None = None) -> Surface:
    backend = Backend(AdapterSource(path.stem, path=str(path)), limits=limits or Limits(call_seconds=10.0))
    return Surface(backend, "functional")


DEATHS = {
    "segfault": ("import os; os.kill(os.getpid(), 11)", "crash", "SIGSEGV"),
    "abort": ("import os; os.abort()", "crash", "SIGABRT"),
    "division by zero": ("import os; os.kill(os.getpid(), 8)", "crash", "SIGFPE"),
    "null pointer": ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"),
    "quiet exit": ("import os; os._exit(0)", "exit", "status 0"),
    "exit with 3": ("import os; os._exit(3)", "exit", "status 3"),
    "sys.exit": ("raise SystemExit(0)", "exit", ""),
    "hang": ("import time; time.sleep(3600)", "hang", "4 s"),
    "busy loop": ("exec('while True: pass')", "hang", "4 s"),
    "closed pipes": ("import os; os.closerange(3, 64)", "", ""),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_has_its_name_and_the_next_call_works(tmp_path: Path, death: str) -> None:
    statement, kind, detail = DEATHS[death]
    patient = Limits(call_seconds=4.0 if kind == "hang" else 10.0)
    surface = surface_of(adapter_file(tmp_path, f"if length == 17: {statement}"), patient)
    deadly = CASE.with_geometry(length=17)
    try:
        with pytest.raises(Died) as info:
            surface.answer(call_of(deadly, operands(deadly)))
        assert info.value.kind == kind or not kind
        assert detail in str(info.value)
        assert surface.answer(CALL).results[0] is not None
    finally:
        surface.backend.close()


def test_memory_past_the_limit_is_a_crash(tmp_path: Path) -> None:
    path = adapter_file(tmp_path, "hoard = np.ones(2**27); import time; time.sleep(60)")
    surface = surface_of(path, Limits(call_seconds=240, memory_bytes=700 << 20))
    try:
        with pytest.raises(Died, match="MiB of memory"):
            surface.answer(CALL)
    finally:
        surface.backend.close()


def test_a_process_that_keeps_too_much_is_replaced_between_calls(tmp_path: Path) -> None:
    path = adapter_file(tmp_path, "globals().setdefault('kept', []).append(np.ones(2**24))")
    surface = surface_of(path, Limits(call_seconds=30, kept_bytes=300 << 20))
    try:
        seen = []
        for _ in range(4):  # 128 MiB each: the third call takes the process past its limit
            seen.append(surface.backend.process)
            surface.answer(CALL)
        assert seen[0] is seen[1] is seen[2] is not seen[3]
    finally:
        surface.backend.close()


@pytest.mark.parametrize(
    "statement",
    [
        "print('garbage' * 1000, flush=True)",
        "import os; os.write(1, b'\\x00\\xff garbage'); os.write(2, b'more')",
        "import sys; sys.stdout.write('x'); sys.stderr.write('y')",
        "import os; os.fork() or os._exit(0)",
    ],
)
def test_noise_and_children_do_no_harm(tmp_path: Path, statement: str) -> None:
    surface = surface_of(adapter_file(tmp_path, statement))
    try:
        for _ in range(3):
            assert surface.answer(CALL).results[0] is not None
    finally:
        surface.backend.close()


def test_a_backend_that_flushes_subnormals_does_not_touch_the_suite(tmp_path: Path) -> None:
    flush = "import ctypes; ctypes.CDLL('libm.so.6').fesetround(0x800)"
    surface = surface_of(adapter_file(tmp_path, flush))
    try:
        surface.answer(CALL)
    finally:
        surface.backend.close()
    assert np.float64(1) + np.float64(2**-53) == 1
    assert np.float64(5e-324) / 1 == 5e-324


def test_the_process_tells_how_long_it_was_inside_the_backend(tmp_path: Path) -> None:
    surface = surface_of(adapter_file(tmp_path, "import time; time.sleep(0.2)"))
    try:
        surface.answer(CALL)
        surface.sequence([CALL, CALL])
        assert surface.backend.seconds >= 0.6
    finally:
        surface.backend.close()


def test_a_result_that_is_no_array_of_numbers_is_a_refusal(tmp_path: Path) -> None:
    surface = surface_of(adapter_file(tmp_path, "return 'no array'"))
    with pytest.raises(Refused, match="to_numpy returned an array of str256, not of numbers"):
        surface.conv1d(CASE, operands(CASE))
    surface.backend.close()


def test_an_exception_is_a_refusal_with_its_type(tmp_path: Path) -> None:
    surface = surface_of(adapter_file(tmp_path, "raise ArithmeticError('not today')"))
    try:
        with pytest.raises(Refused, match="ArithmeticError: not today"):
            surface.answer(CALL)
    finally:
        surface.backend.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_framework", "no_such_framework"),
        ("name = (", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_broken_and_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    surface = surface_of(path)
    try:
        with pytest.raises(Broken, match=message):
            surface.backend.describe()
    finally:
        surface.backend.close()


def test_a_backend_killed_from_outside_is_a_crash_at_any_moment(tmp_path: Path) -> None:
    surface = surface_of(adapter_file(tmp_path, "import time; time.sleep(0.3)"))
    try:
        surface.backend.describe()
        for moment in (0.0, 0.1, 0.2):
            pid = surface.backend.process.describe()["process"]["pid"]
            time.sleep(moment)
            psutil.Process(pid).send_signal(signal.SIGKILL)
            with pytest.raises(Died, match="SIGKILL"):
                surface.answer(CALL)
    finally:
        surface.backend.close()


def test_facts_tell_of_aliases_and_changed_operands(tmp_path: Path) -> None:
    alias = surface_of(adapter_file(tmp_path, "return x[:, :1]", "alias"))
    vandal = surface_of(adapter_file(tmp_path, "x[0, 0, 0] += 1", "vandal"))
    try:
        assert alias.answer(CALL).aliases == ("x",)
        assert vandal.answer(CALL).modified == ("x",)
    finally:
        alias.backend.close()
        vandal.backend.close()


def test_operands_of_a_refused_call_are_looked_at_too(tmp_path: Path) -> None:
    vandal = surface_of(adapter_file(tmp_path, "x[0, 0, 0] += 1; raise ValueError('no')", "vandal"))
    try:
        with pytest.raises(Refused) as refusal:
            vandal.answer(CALL)
        assert refusal.value.modified == ("x",)
    finally:
        vandal.backend.close()


@pytest.mark.parametrize("value", [np.int8(100), np.uint64(2**63), np.float32(1.5), np.True_, 2, "same", 2.5])
def test_parameters_keep_their_types_on_the_wire(value: object) -> None:
    given = {"stride": value, "padding": (value, value)}
    back = decode_attributes(encode_attributes(given))
    assert back == given
    assert type(back["stride"]) is type(back["padding"][0]) is type(value)


IMPOSTOR = """
import numpy as np
from conv1d_cts import reference
name, versions, limits, native = "impostor", {"torch": "2"}, {}, "torch"

class Tensor(np.ndarray):
    pass

Tensor.__module__ = "torch"


def conv1d(x, w, b, *, stride, padding, dilation, groups, **more):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.convolve(x[0, 0], w[0, 0])[None, None]", "the result is a numpy.ndarray"),
        ("return np.einsum('ncl,ock->nok', x, w).view(Tensor)", "computes with numpy"),
        ("return reference.conv1d(x, w, b, padding=padding).view(Tensor)", "computes with conv1d_cts.reference"),
    ],
)
def test_an_impostor_is_caught(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "impostor.py"
    path.write_text(IMPOSTOR.replace("{body}", body))
    surface = surface_of(path)
    try:
        with pytest.raises(Violation, match=message):
            computed_by_the_backend(surface, CASE)
    finally:
        surface.backend.close()


_SSH = """#!/bin/sh
# What an ssh client does with `ssh -C HOST COMMAND`, the host being this machine.
[ "$2" = here ] || { echo "no such host" >&2; exit 255; }
sh -c "$3"
status=$?
[ $status -lt 128 ] || exit 255
exit $status
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A host that ssh reaches; its Python has this package, as it must."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(_SSH, encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return "here"


def on_host(path: Path, host: str) -> Surface:
    source = AdapterSource(path.stem, path=str(path))
    return Surface(
        Backend(source, interpreter=Interpreter(sys.executable, host), limits=Limits(call_seconds=4.0)), "functional"
    )


DEATHS_OVER_SSH = {
    "import os; os.abort()": "crash",
    "import os; os._exit(3)": "exit",
    "exec('while True: pass')": "hang",
}


@pytest.mark.parametrize("statement", DEATHS_OVER_SSH)
def test_a_backend_on_another_host_dies_like_one_here(tmp_path: Path, host: str, statement: str) -> None:
    surface = on_host(adapter_file(tmp_path, f"if length == 17: {statement}"), host)
    deadly = CASE.with_geometry(length=17)
    try:
        assert surface.answer(CALL).results[0] is not None
        with pytest.raises(Died) as info:
            surface.answer(call_of(deadly, operands(deadly)))
        assert info.value.kind == DEATHS_OVER_SSH[statement]
        assert surface.answer(CALL).results[0] is not None
    finally:
        surface.backend.close()


def test_a_host_that_is_not_reached_is_one_line(tmp_path: Path, host: str) -> None:
    command = [sys.executable, "-c", "from conv1d_cts.cli import main; main()", "certify", "numpy"]
    run = subprocess.run(
        [*command, "--host", "elsewhere", "--jobs", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == SUITE
    said = "numpy: HostNotFound: ssh does not reach elsewhere, or python3 does not start there"
    assert said in run.stderr.splitlines()
    assert "Traceback" not in run.stderr


def in_process(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = adapter_file(folder, "import os; print(f'in {os.getpid()}', flush=True)")
    return subprocess.run(
        [sys.executable, "-c", "import os, pytest, sys; print('suite', os.getpid()); sys.exit(pytest.main())",
         "-p", "conv1d_cts.conformance.plugin", "--pyargs", "conv1d_cts.conformance", "-p", "no:cacheprovider",
         "-k", "test_shape_2", "--capture=no", "--profile", "quick", "--backend", str(path), "--in-process", *options],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_in_process_nothing_stands_between_a_debugger_and_the_adapter(tmp_path: Path) -> None:
    run = in_process(tmp_path)
    assert run.returncode == 0, run.stdout
    suite = run.stdout.split()[1]
    assert {line for line in run.stdout.splitlines() if line.startswith("in ")} == {f"in {suite}"}


def test_in_process_gives_no_certificate(tmp_path: Path) -> None:
    run = in_process(tmp_path, "--certificate", str(tmp_path / "out"))
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--in-process proves nothing" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_process_killed_before_its_gateway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class KilledAtFirst(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            if len(started) == 1:
                self.kill()
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(subprocess, "Popen", KilledAtFirst)
    group = execnet.Group()
    try:
        assert Interpreter().start(group).remote_exec("channel.send(1)").receive() == 1
    finally:
        group.terminate(timeout=1)
    first, _second = started
    assert first.returncode == -signal.SIGKILL  # None where nobody has waited for it
    assert first.stdin is not None
    assert first.stdin.closed
