"""Certify every backend that can be installed, each in its tox environment, several at once where there are cores.

`tox -e all -- --profile quick`. One whose environment can't be made is an `error` certificate with the
installer's reason; the others are unaffected. The report at the end shows all of them.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from conv1d_cts.conformance.certify import AS_EXPECTED, SUITE, failed_installation
from conv1d_cts.conformance.session import Options, certificate_path

_JOBS = 4  # processes that one certification keeps busy
_ADDRESS = re.compile(r"\S+://\S+")
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def backends(settings: str) -> list[str]:
    """The environments of a tox.ini that certify: those that have no commands of their own."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(settings)
    listed = [name.strip() for name in parser["tox"]["env_list"].split(",")]
    sections = {
        name.removeprefix("testenv:"): parser[name] for name in parser.sections() if name.startswith("testenv:")
    }
    return [*(n for n in listed if n not in sections), *(n for n, own in sections.items() if "commands" not in own)]


def reason(output: str) -> str:
    """The line of an installer's output that says why it failed, without addresses."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("ERROR", "npm error", "error:"))]
    return _ADDRESS.sub("...", (told or lines or ["tox said nothing"])[-1 if not told else 0])


def certify(name: str, out: Path, arguments: Sequence[str], run: Run) -> int:
    """Certify one backend in its environment; the exit code. A failed installation is a certificate as well."""
    certificate = certificate_path(out, name, "cpu")
    certificate.unlink(missing_ok=True)
    done = run(["run", "-e", name, "--", "--out", str(out), *arguments])
    if not certificate.exists():
        failed_installation(Options(name), out, f"not installed: {reason(done.stdout + done.stderr)}")
        return SUITE
    return done.returncode


def _tox_on(wheel: Path) -> Run:
    """Runs tox on a wheel; the settings of the tox around this one are not those of another environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOX_")}

    def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tox", arguments[0], "--installpkg", str(wheel), *arguments[1:]]
        return subprocess.run(command, env=kept, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    return run


def certify_all(names: Sequence[str], out: Path, arguments: Sequence[str], at_once: int, run: Run) -> dict[str, int]:
    """The exit code of every backend, in the order of the names; each is said as it comes."""

    def one(name: str) -> int:
        code = certify(name, out, arguments, run)
        click.echo(f"{name}: {'as expected' if code == AS_EXPECTED else f'exit code {code}'}")
        return code

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports/out"), show_default=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(out: Path, arguments: tuple[str, ...]) -> None:
    """Certify every backend; ARGUMENTS go to each `conv1d-cts certify`. The exit code is the worst of all."""
    out.mkdir(parents=True, exist_ok=True)
    at_once = max(1, (os.cpu_count() or 1) // _JOBS)
    names = backends(Path("tox.ini").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:  # tox removes what it has built when the next one starts
        wheel = Path(shutil.copy(os.environ["TOX_PACKAGE"], folder))
        codes = certify_all(names, out.resolve(), arguments, at_once, _tox_on(wheel))
    subprocess.run([sys.executable, "-c", "from conv1d_cts.cli import main; main()", "report", str(out)], check=False)
    sys.exit(max(codes.values()))


if __name__ == "__main__":
    main()
