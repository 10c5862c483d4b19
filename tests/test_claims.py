"""What a fingerprint claims of a framework, a short script in that framework's own code finds as well."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conv1d_cts.adapters.registry import find
from conv1d_cts.conformance.arithmetic.fingerprint import FORWARD, GRADIENTS, SIZES, fingerprint
from conv1d_cts.conformance.backend import Backend, Surface

CLAIMS = Path(__file__).parent / "claims"
FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax")
FEW_LINES = 11  # of code, in a script about y alone: ten, and a switch where a framework needs one for float64
SCRIPTS = sorted(path.stem for path in CLAIMS.glob("*_*.py") if path.stem != "__init__")


def test_every_framework_has_its_script() -> None:
    assert {stem.partition("_")[0] for stem in SCRIPTS} == set(FRAMEWORKS)
    for stem in SCRIPTS:
        assert "conv1d_cts" not in _text(stem), stem


def test_what_is_claimed_of_y_takes_few_lines_to_see() -> None:
    short = [stem for stem in SCRIPTS if stem.endswith("_y")]
    assert len(short) == len(FRAMEWORKS) - 1  # numpy's only script is about y
    for stem in short:
        code = [line for line in _text(stem).splitlines() if line and not line.startswith('"""')]
        assert len(code) <= FEW_LINES, stem


def _text(stem: str) -> str:
    return (CLAIMS / f"{stem}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("stem", SCRIPTS)
def test_plain_code_finds_the_same_bits(stem: str) -> None:
    """Bits of operands and of sums, of y, or of y, gx, gw and gb, in each of four dtypes."""
    framework = stem.partition("_")[0]
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    script = [sys.executable, "-W", "ignore", str(CLAIMS / f"{stem}.py")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=True)
    found = {(dtype, quantity): (int(a), int(b)) for dtype, quantity, a, b in map(str.split, done.stdout.splitlines())}
    backend = Backend(find(framework))
    try:
        surface = Surface(backend, "functional")
        claimed = {
            (dtype, o.facts.quantity): (o.facts.value("left operand bits"), o.facts.value("sum bits"))
            for dtype in dict.fromkeys(dtype for dtype, _ in found)
            for part in (FORWARD, GRADIENTS)
            for o in fingerprint(surface, dtype, part, SIZES[:1]).observations
        }
    finally:
        backend.close()
    assert found.items() <= claimed.items()
    assert len(found) in (4, 16)
