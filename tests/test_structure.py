"""The house: who imports a framework, what a judgement may rest on, and what the README promises to run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("spec", "reference", "adapters", "conformance", "reports", "src", "tests")
TOLERANCES = re.compile(r"\b(?:r|a|rel_|abs_)tol\b|\ballclose\b|\bisclose\b|\bassert_allclose\b")

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


def test_no_judgement_rests_on_a_tolerance() -> None:
    assert len(sources()) > 50
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if TOLERANCES.search(line)
    ]
    assert found == []


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
