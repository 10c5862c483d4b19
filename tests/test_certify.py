"""Certification from end to end, with real processes: certificates, exit codes, interruptions, broken adapters."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from conv1d_cts import reports
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.certify import SUITE, UNEXPECTED, USAGE, certify, exit_code
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.progress import Bars, Lines, display
from conv1d_cts.conformance.session import Options, Session, certificate_path
from conv1d_cts.spec.clauses import clauses
from tests.adapter_files import adapter_file

COMMAND = [sys.executable, "-c", "from conv1d_cts.cli import main; main()", "certify"]
NAMES = 'name = "mine"\nversions = {"mine": "1"}\n'
PLAIN = NAMES + "def conv1d(x, w, b, **parameters):\n    raise ValueError('nothing works')\n"


def silent() -> Lines:
    return Lines(Console(file=io.StringIO()), "test")


def adapter(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder whose pytest settings would break any run that obeyed them."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "conftest.py").write_text("raise RuntimeError('the conftest of the user')\n", encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", encoding="utf-8")
    (folder / "test_own.py").write_text("def test_own(): assert False\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole_run(hostile_folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTEST_ADDOPTS": "--no-such-option", "PYTEST_PLUGINS": "no_such_plugin"}
    return subprocess.run(
        [*COMMAND, "numpy", "--profile", "quick", "--jobs", "1"], cwd=hostile_folder, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_numpy_comes_out_clean(whole_run: subprocess.CompletedProcess[str], hostile_folder: Path) -> None:
    assert whole_run.returncode == 0, whole_run.stderr
    certificate = reports.load(hostile_folder / "reports" / "out" / "numpy-cpu.json")
    assert certificate["verdict"] == "conformant"
    assert certificate["suite"]["complete"]
    assert {row["id"] for row in certificate["clauses"]} == set(clauses())
    assert "conformant" in whole_run.stdout


def test_nothing_but_the_certificate_is_left_in_the_folder(
    whole_run: subprocess.CompletedProcess[str], hostile_folder: Path
) -> None:
    left = {path.name for path in hostile_folder.iterdir()} - {"conftest.py", "pytest.ini", "test_own.py"}
    assert left == {"reports"}
    assert [path.name for path in (hostile_folder / "reports" / "out").iterdir()] == ["numpy-cpu.json"]


def test_without_a_terminal_each_chapter_is_a_line_in_the_order_of_the_spec(
    whole_run: subprocess.CompletedProcess[str],
) -> None:
    chapters = list(dict.fromkeys(clause.chapter for clause in clauses().values()))
    lines = [line for line in whole_run.stderr.splitlines() if line.endswith(")")]
    assert [line.removeprefix("numpy: ").rpartition(" (")[0] for line in lines] == chapters
    assert "\x1b" not in whole_run.stderr + whole_run.stdout


def test_the_bytes_of_a_certificate_do_not_depend_on_the_number_of_workers(
    whole_run: subprocess.CompletedProcess[str], hostile_folder: Path, tmp_path: Path
) -> None:
    several = subprocess.run(
        [*COMMAND, "numpy", "--profile", "quick", "--jobs", "3"], cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert several.returncode == 0, several.stderr
    one, three = (
        reports.dumps({**reports.load(folder / "reports" / "out" / "numpy-cpu.json"), "run": None})
        for folder in (hostile_folder, tmp_path)
    )
    assert one.encode() == three.encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups that receive SIGINT")
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_a_partial_certificate_and_no_process(
    tmp_path: Path, number: signal.Signals, jobs: str
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "numpy", "jax", "--profile", "quick", "--jobs", jobs], cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert any("Shapes" in line for line in process.stderr)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    rest = process.communicate()[1]
    assert process.returncode == 128 + number
    assert "interrupted: the certificate is partial" in rest
    assert "jax" not in rest
    assert family
    assert not psutil.wait_procs(family, timeout=5)[1]
    certificate = reports.load(tmp_path / "reports" / "out" / "numpy-cpu.json")
    assert certificate["verdict"] == "partial"
    assert not certificate["suite"]["complete"]
    assert {row["verdict"] for row in certificate["clauses"]} >= {"pass", "not run"}


class _Deaf(Lines):
    """Receives a signal where an exception gets lost, as in a finalizer or a callback of the garbage collector."""

    def chapter(self, title: str) -> None:
        super().chapter(title)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_that_gets_lost_still_ends_the_run(tmp_path: Path, jobs: int) -> None:
    display = _Deaf(Console(file=io.StringIO()), "test")
    outcome = certify(Options("numpy", profile="quick", jobs=jobs, python=sys.executable), tmp_path, display)
    assert outcome.interrupted
    assert outcome.path is not None
    assert "not run" in {row["verdict"] for row in reports.load(outcome.path)["clauses"]}


BROKEN = {
    "import nosuchmodule\n": "ModuleNotFoundError: No module named 'nosuchmodule' ({file}:1)",
    "x = (\n": "SyntaxError: '(' was never closed ({file}:1)",
    "": "AttributeError: the adapter does not define name, versions, conv1d ({file})",
    "import json\n\njson.loads('{')\n": "JSONDecodeError: Expecting property name enclosed in double quotes: "
    "line 1 column 2 (char 1) ({file}:3)",
    "raise SystemExit(0)\n": "SystemExit: 0 ({file}:1)",
    "import os\nos._exit(0)\n": "exit: ended with status 0 while the adapter was loaded",
    "import os\nos.abort()\n": "crash: SIGABRT while the adapter was loaded",
    PLAIN + "limits = {'lo !': 'no'}\n": "ValueError: limits: condition 'lo !': invalid syntax",
}


@pytest.mark.parametrize(("text", "line"), BROKEN.items())
def test_a_broken_adapter_is_one_line_and_an_error_certificate(tmp_path: Path, text: str, line: str) -> None:
    file = adapter(tmp_path, text)
    outcome = certify(Options(file, python=sys.executable), tmp_path, silent())
    assert (outcome.code, outcome.message) == (SUITE, "mine: " + line.format(file=file))
    assert outcome.path == tmp_path / "mine-cpu.json"
    certificate = reports.load(outcome.path)
    assert certificate["verdict"] == "error"
    assert {row["verdict"] for row in certificate["clauses"]} == {"error"}
    assert certificate["clauses"][0]["evidence"]["message"] in outcome.message


def test_a_missing_framework_is_the_pip_command(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare one", with_pip=False)
    python = str(tmp_path / "bare one" / "bin" / "python")
    outcome = certify(Options("numpy", python=python), tmp_path, silent())
    assert outcome.code == SUITE
    assert outcome.message == f"numpy: numpy is not installed: {python} -m pip install numpy"


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"surfaces": ("layer",)}, "mine has no surface 'layer'; it has: functional"),
        ({"device": "cuda:0"}, "mine has no device 'cuda:0' here; it has: cpu"),
    ],
)
def test_an_unknown_surface_or_device_is_a_usage_mistake(tmp_path: Path, wrong: dict[str, Any], line: str) -> None:
    options = Options(adapter(tmp_path, PLAIN), python=sys.executable, **wrong)
    outcome = certify(options, tmp_path, silent())
    assert (outcome.code, outcome.message, outcome.path) == (USAGE, line, None)
    assert not list(tmp_path.glob("*.json"))


def test_a_certificate_of_the_same_command_is_never_replaced(tmp_path: Path) -> None:
    path = certificate_path(tmp_path, "mine", "cpu")
    path.write_text("the first", encoding="utf-8")
    options = Options(adapter(tmp_path, PLAIN), profile="quick", python=sys.executable)
    assert certify(options, tmp_path, silent(), taken=[path]).code == USAGE
    assert path.read_text(encoding="utf-8") == "the first"


def test_a_run_has_a_folder_for_what_is_compiled_and_leaves_none(tmp_path: Path) -> None:
    told = "import os; raise ValueError('in ' + os.environ['CONV1D_CTS_CACHE'])"
    outcome = certify(Options(adapter(tmp_path, told), profile="quick", python=sys.executable), tmp_path, silent())
    folder = Path(outcome.message.partition("ValueError: in ")[2].split()[0])
    assert folder.name == "compiled"
    assert not folder.parent.exists()
    assert "CONV1D_CTS_CACHE" not in os.environ


def test_the_path_of_a_certificate_stays_in_its_folder(tmp_path: Path) -> None:
    for name in ("../../etc/x", "a b", "ünï", "..", "x" * 8):
        assert certificate_path(tmp_path, name, "cuda:0").parent == tmp_path


@pytest.fixture
def session() -> Iterator[Session]:
    opened = Session(Options("numpy", profile="quick", python=sys.executable))
    yield opened
    opened.close()


def test_an_exception_of_a_check_is_an_error_and_not_the_backends_fault(session: Session) -> None:
    def faulty(surface: Any, example: Any) -> None:
        raise ZeroDivisionError("the suite's own")

    tally = session.run(Check("OP-1", faulty, lambda cases: cases[:3]), "functional")
    assert tally.verdict == "error"
    certificate = session.certificate(interrupted=False)
    row = next(row for row in certificate["clauses"] if row["id"] == "OP-1")
    assert row["verdict"] == "error"
    assert row["evidence"]["message"].startswith("ZeroDivisionError: the suite's own (")
    assert " > test_certify.py:" in row["evidence"]["message"]
    assert certificate["verdict"] == "error"
    assert exit_code(certificate) == SUITE


@pytest.mark.parametrize(
    ("level", "verdict", "message", "code"),
    [
        ("MUST", "pass", "", 0),
        ("MUST", "deviation", "", 0),
        ("MUST", "fail", "", UNEXPECTED),
        ("MUST", "crash", "", UNEXPECTED),
        ("SHOULD", "fail", "", 0),
        ("SHOULD", "fail", "stale deviation: 'lo != hi'", UNEXPECTED),
        ("MUST", "vacuous", "", 0),
        ("MUST", "unsupported", "", 0),
    ],
)
def test_the_exit_code_says_whether_it_was_expected(level: str, verdict: str, message: str, code: int) -> None:
    row = {"level": level, "verdict": verdict, "evidence": {"message": message}}
    certificate = {"verdict": "conformant", "suite": {"complete": True}, "clauses": [row]}
    assert exit_code(certificate) == code
    unfinished = {**certificate, "suite": {"complete": False}}
    assert exit_code(unfinished) == (code or SUITE)


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(display(terminal, "x"), Bars)
    assert isinstance(display(Console(file=io.StringIO()), "x"), Lines)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isinstance(display(terminal, "x"), Lines)


def test_each_chapter_that_has_begun_has_a_bar() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=True, width=100), "numpy") as bars:
        bars.start({"Shapes [of all kinds]": 4, "Padding": 7, "Errors": 2})
        for title in ("Shapes [of all kinds]", "Padding"):
            bars.chapter(title)
            bars.advance(title)
        time.sleep(0.2)
    for shown in ("numpy", "Shapes [of all kinds]", "1/4", "Padding", "1/7", "2/13"):
        assert shown in out.getvalue()
    assert "Errors" not in out.getvalue()


def test_who_refuses_everything_passes_nothing(tmp_path: Path) -> None:
    """An adapter that is broken, as by a name that its framework has no more, has not refused what is malformed.

    What it left of the operands is as it should be (INV-1).
    """
    broken = adapter_file(tmp_path, "raise AttributeError('renamed')")
    session = Session(Options(str(broken), profile="quick", in_process=True))
    try:
        found = {
            name: session.run(check, "functional").verdict
            for name, check in checks()
            if check.must_refuse and check.clause != "INV-1"
        }
    finally:
        session.close()
    assert len(found) > 20
    assert [name for name, verdict in found.items() if verdict == "pass"] == []
