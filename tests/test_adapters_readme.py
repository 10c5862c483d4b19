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

FILLED_IN = """from conv1d_cts.reference import conv1d as reference
    return reference(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)"""
ARRAYS = ("surfaces", "devices", "dtypes", "limits", "native", "to_native", "to_numpy")  # parts of most adapters


def blocks() -> Iterator[tuple[str, str, str]]:
    """(key, value, body) of each block that says what it is: a file, or commands with the exit code of each."""
    for block in BLOCK.finditer(README.read_text(encoding="utf-8")):
        yield block["key"], block["value"], block["body"]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line)
    start = {"conv1d-cts": ["-c", "from conv1d_cts.cli import main; main()"], "pytest": ["-m", "pytest"]}[program]
    command = [sys.executable, *start, *arguments]
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
    assert codes == [3, 1, 0, 0]
    assert (tmp_path / "reports" / "out" / "mylib-cpu.json").is_file()
    assert (tmp_path / "reports" / "out" / "index.html").is_file()


def test_an_adapter_is_as_short_as_promised() -> None:
    minimal = [body for _, value, body in blocks() if value == "mylib_adapter.py"][-1]
    (complete,) = (body for _, value, body in blocks() if value == "torch_in_full.py")
    assert len(minimal.splitlines()) <= 15
    assert f"{len(complete.splitlines())} lines are all" in README.read_text(encoding="utf-8")
    assert len(complete.splitlines()) <= 40
    assert all(f"def {name}(" in complete for name in ("conv1d", "to_native", "to_numpy", "vjp", "jvp", "vmap"))


def test_a_new_adapter_runs_once_it_is_filled_in(tmp_path: Path) -> None:
    assert run("conv1d-cts new-adapter numpy", tmp_path).stdout == "numpy_adapter.py\n"
    file = tmp_path / "numpy_adapter.py"
    text = file.read_text(encoding="utf-8")
    assert "cannot write numpy_adapter.py: File exists" in run("conv1d-cts new-adapter numpy", tmp_path).stderr
    try_it = "pytest --pyargs conv1d_cts.conformance -p conv1d_cts.conformance.plugin --profile quick -rs -k shape_2_"
    assert ": unsupported" in run(f"{try_it} --backend numpy_adapter.py", tmp_path).stdout

    every_part = re.sub(r"^# (?=def|return|    |dtypes|import|native =)", "", text, flags=re.M)
    compile(every_part, str(file), "exec")
    file.write_text(text.replace('raise NotImplementedError("call numpy here")', FILLED_IN), encoding="utf-8")
    done = run(f"{try_it} --backend numpy_adapter.py", tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_new_adapter_names_what_its_parts_are_named(tmp_path: Path) -> None:
    """The commented file has every part that the worker asks an adapter for."""
    run("conv1d-cts new-adapter some-lib.x", tmp_path)
    text = (tmp_path / "some_lib_x_adapter.py").read_text(encoding="utf-8")
    assert 'name = "some-lib.x"' in text
    assert "import some_lib_x" in text
    for part in (*ARRAYS, "vjp", "jvp", "vmap", "compile", "eval_shape"):
        assert re.search(rf"^# (?:def )?{part}\b", text, re.M), part


def test_the_page_names_every_part_of_an_adapter() -> None:
    text = README.read_text(encoding="utf-8")
    isolation = README.parent.parent / "conformance" / "isolation"
    asking = "".join((isolation / name).read_text(encoding="utf-8") for name in ("worker.py", "place.py"))
    asked = set(re.findall(r'(?:hasattr|getattr)\((?:self\.)?adapter, "(\w+)"', asking))
    assert {*ARRAYS, "device_of", "settings"} <= asked
    for name in asked:
        assert f"`{name}" in text, name


@pytest.mark.parametrize("name", re.findall(r"\]\((\S+?\.py|deviations)\)", README.read_text(encoding="utf-8")))
def test_links_lead_somewhere(name: str) -> None:
    assert (README.parent / name).exists()
