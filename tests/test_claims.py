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


def test_every_framework_has_its_script() -> None:
    assert {path.stem for path in CLAIMS.glob("*_bits.py")} == {f"{name}_bits" for name in FRAMEWORKS}
    for path in CLAIMS.glob("*_bits.py"):
        assert "conv1d_cts" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_plain_code_finds_the_same_bits(framework: str) -> None:
    """Bits of operands and of sums, of y, gx, gw and gb, in each of four dtypes."""
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    script = [sys.executable, "-W", "ignore", str(CLAIMS / f"{framework}_bits.py")]
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
