"""The walk in adapters/README.md: every file is written, every command run, and each ends as the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "adapters" / "README.md"
BLOCK = re.compile(r"^```(?P<language>\w+) (?P<key>file|exit)=(?P<value>\S+)\n(?P<body>.*?)^```$", re.M | re.S)


def blocks() -> Iterator[tuple[str, str, str]]:
    """(key, value, body) of each block that says what it is: a file, or commands with the exit code of the last."""
    for block in BLOCK.finditer(README.read_text(encoding="utf-8")):
        yield block["key"], block["value"], block["body"]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line)
    assert program == "conv1d-cts"
    command = [sys.executable, "-c", "from conv1d_cts.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_the_walk_ends_in_a_certificate(tmp_path: Path) -> None:
    codes = []
    for key, value, body in blocks():
        if key == "file":
            (tmp_path / value).write_text(body, encoding="utf-8")
            continue
        for line in body.splitlines():
            done = run(line, tmp_path)
        assert done.returncode == int(value), f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        codes.append(done.returncode)
    assert codes == [3, 1, 0]
    assert (tmp_path / "reports" / "out" / "mylib-cpu.json").is_file()
    assert (tmp_path / "reports" / "out" / "index.html").is_file()


def test_the_page_names_every_part_of_an_adapter() -> None:
    text = README.read_text(encoding="utf-8")
    worker = (README.parent.parent / "conformance" / "isolation" / "worker.py").read_text(encoding="utf-8")
    asked = set(re.findall(r'(?:hasattr|getattr)\((?:self\.)?adapter, "(\w+)"', worker))
    assert {"surfaces", "devices", "dtypes", "limits", "native", "to_native", "to_numpy"} <= asked
    for name in asked:
        assert f"`{name}" in text, name


@pytest.mark.parametrize("name", re.findall(r"\]\((\S+?\.py|deviations)\)", README.read_text(encoding="utf-8")))
def test_links_lead_somewhere(name: str) -> None:
    assert (README.parent / name).exists()
