"""An adapter in another distribution, built and installed for real, is found by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "tiny_distribution"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel that it built of tinyconv."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(SOURCE)], check=True, cwd=site)
    return site


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_is_a_distribution_of_its_own(installed: Path) -> None:
    assert (installed / "tinyconv-0.7.0.dist-info" / "entry_points.txt").is_file()


def test_list_finds_it_and_loads_it(installed: Path) -> None:
    done = run(installed, "-c", "from conv1d_cts.cli import main; main(['list'])")
    line = next(line for line in done.stdout.splitlines() if line.startswith("tinyconv "))
    assert line.split(maxsplit=1)[1] == "tinyconv 0.7.0 on cpu; surfaces functional"


def test_it_is_tried_by_its_name(installed: Path) -> None:
    plugin = ("--pyargs", "conv1d_cts.conformance", "-p", "conv1d_cts.conformance.plugin", "-p", "no:cacheprovider")
    done = run(installed, "-m", "pytest", *plugin, "--backend", "tinyconv", "--profile", "quick", "-k", "op_1_value")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
