"""The house: who imports a framework, what a judgement may rest on, and what the README promises to run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("spec", "reference", "adapters", "conformance", "reports", "src", "tests")
TOLERANCES = re.compile(
    r"\b(?:r|a|rel|abs)_?tol(?:erances?)?\b|(?:all|is)_?close|almost_?equal|\bapprox(?:imate(?:ly)?)?\s*\("
    r"|\btol(?:erances?)?\s*[=:]|array_max_ulp|\bnulp\b",
    re.IGNORECASE,
)

IMPORT_ALL = """
import importlib, pkgutil, sys
import conv1d_cts
names = [m.name for m in pkgutil.walk_packages(conv1d_cts.__path__, "conv1d_cts.") if not m.name.endswith("_adapter")]
for name in names:
    importlib.import_module(name)
assert len(names) > 50, names
print(*sorted({"torch", "tensorflow", "jax", "cupy"} & set(sys.modules)))
"""


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path != Path(__file__))


def test_nothing_but_an_adapter_imports_a_framework() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def judging() -> list[Path]:
    """Every file of ours that can hold code: sources, deviations with their reproducers, settings, templates."""
    kinds = (".py", ".toml", ".ini", ".j2", ".js")
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    published = ROOT / "reports" / "published"
    return [path for path in (*found, *ROOT.glob("*.toml"), *ROOT.glob("*.ini")) if published not in path.parents]


def test_no_judgement_rests_on_a_tolerance() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in judging()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if TOLERANCES.search(line)
    ]
    assert found == []
    assert len(judging()) > 150


@pytest.mark.parametrize(
    "line",
    [
        "assert np.allclose(a, b)", "np.testing.assert_allclose(a, b, rtol=1e-5)", "math.isclose(a, b, rel_tol=1e-9)",
        "torch.testing.assert_close(a, b, atol=0)", "self.assertAlmostEqual(a, b)", "assert a == pytest.approx(b)",
        "np.testing.assert_array_almost_equal_nulp(a, b, nulp=4)", "np.testing.assert_array_max_ulp(a, b)",
        "TOL = 1e-6", "tolerance: float = 1e-3", "jnp.isclose(a, b)",
    ],
)  # fmt: skip
def test_the_search_for_tolerances_finds_them(line: str) -> None:
    assert TOLERANCES.search(line)
    assert not TOLERANCES.search("the closest relatives of a protocol, tolerated approximately once")


def test_the_readme_starts_with_its_two_commands() -> None:
    blocks = re.findall(
        r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks[:2] == [
        "python3 -m pip install tox && python3 -m tox\n",
        "python3 -m pip install tox && python3 -m tox -e tests\n",
    ]


def test_the_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python3 -m pip install tox && python3 -m tox -e tests" in script


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []
