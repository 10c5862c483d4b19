"""`reports/gpu.sh`: its mistakes, each told without a traceback. Its run needs wheels, and a GPU to mean anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "reports" / "gpu.sh"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def run(folder: Path, *arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": python}
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "reports/gpu.sh --wheels DIR"),
        (("--help",), "Exit code: 0 with certificates"),
        (("--wheels",), "reports/gpu.sh --wheels DIR"),
        (("nothing",), "no folder nothing with wheels"),
        ((".",), "no wheel of conv1d-cts in"),
    ],
)
def test_a_mistake_is_exit_code_2_and_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_that_is_missing_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, ".", python="no-such-python")
    assert (done.returncode, done.stderr) == (2, "no interpreter no-such-python\n")


def test_wheels_that_lack_something_are_said_and_nothing_is_left(tmp_path: Path) -> None:
    """An empty file of pip's name is none that can install the suite."""
    for name in ("conv1d_cts-0-py3-none-any.whl", "pip-0-py3-none-any.whl"):
        (tmp_path / name).touch()
    done = run(tmp_path, ".", "out")
    assert done.returncode == 3
    assert "collect them anew with --wheels" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
