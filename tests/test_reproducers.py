"""The reproducer of every known deviation shows its fault: plain framework code, in a fresh process, by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conv1d_cts.adapters import known_deviations, registry
from conv1d_cts.conformance.isolation.process import BackendProcess, Broken

BACKENDS = sorted(name for name in registry.known() if name != "numpy")


@pytest.mark.parametrize("name", BACKENDS)
def test_each_reproducer_shows_its_fault(name: str, tmp_path: Path) -> None:
    process = BackendProcess(registry.find(name), "cpu")
    try:
        own = process.describe()
    except Broken as problem:
        pytest.skip(f"{name}: {problem}")
    finally:
        process.close()
    silent = []
    found = known_deviations.load(name, own["versions"], own["process"]["cpu_flags"])
    for deviation in (d for d in found if not d.inherited):  # those of the backend below are tried with it
        assert "conv1d_cts" not in deviation.reproducer
        script = tmp_path / "reproducer.py"
        script.write_text(deviation.reproducer, encoding="utf-8")
        run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
        shown = run.returncode == 1 or run.returncode < 0  # ended by the fault itself
        if not shown or "Traceback" in run.stderr:  # a mistake of the script's own ends in 1 as well
            silent.append((deviation.when.text, run.returncode, run.stderr[-500:]))
    assert not silent
