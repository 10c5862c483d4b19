"""Find the published bugs of old releases: `python -m tests.known_bad --help`.

Each release is installed in an environment of its own and certified without any deviations. It passes when every one of
its bugs is found: a clause that the bug breaks fails on a call on which it shows, and the bug's own reproducer agrees.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from conv1d_cts.reports import facts
from tests.known_bad.releases import DATA, Bug, Release, load

_WORKER = ("numpy", "ml_dtypes")  # what the backend's process needs beside the framework
_CERTIFY = (sys.executable, "-c", "from conv1d_cts.cli import main; main()", "certify")
_SECONDS = 120  # for a reproducer


class NotInstalledError(Exception):
    """Pip could not install a release; the message is pip's own, without addresses."""


@dataclass(frozen=True)
class Finding:
    """What came of one bug: the certificate's row that shows it, and the reproducer's exit codes; None: not tried."""

    release: Release
    bug: Bug
    row: dict[str, Any] | None
    bad: int | None
    fixed: int | None

    @property
    def found(self) -> bool:
        """Whether the suite found the bug, and the reproducer tells the bad release from the good one."""
        return self.row is not None and self.bad != 0 and self.fixed == 0


def install(folder: Path, requires: tuple[str, ...]) -> Path:
    """The interpreter of a new environment with these requirements. Raises NotInstalledError."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_WORKER, *requires]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NotInstalledError(re.sub(r"\S+://\S+", "...", errors[-1]))
    return python


def certificate(release: Release, python: Path, folder: Path, profile: str, seed: int) -> dict[str, Any]:
    """What the suite says of the release when told nothing: no deviations. One that `folder` holds is used again."""
    folder.mkdir(exist_ok=True)
    if not any(folder.glob("*.json")):
        nothing = folder / "no-deviations.toml"
        nothing.write_text("", encoding="utf-8")
        options = {
            "--surface": release.surface, "--python": python, "--profile": profile, "--seed": seed,
            "--deviations": nothing, "--out": folder, "--jobs": 1,
        }  # fmt: skip
        arguments = [str(word) for pair in options.items() for word in pair]
        subprocess.run([*_CERTIFY, release.adapter, *arguments], stdin=subprocess.DEVNULL, check=False)
    (path,) = folder.glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not found["suite"]["complete"]:
        path.unlink()
        raise click.ClickException(f"{release.name}: the certification was cut short")
    return found


def reproduce(bug: Bug, python: Path) -> int:
    """The exit code of the bug's reproducer; negative for a signal."""
    command = [python, "-c", bug.reproducer]
    return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode


def attack(release: Release, work: Path, profile: str, seed: int) -> Iterator[Finding]:
    """Every bug of a release. Raises NotInstalledError where it, or the fixed one, does not install."""
    slug = re.sub(r"\W+", "-", release.name)
    bad, fixed = install(work / slug, release.requires), install(work / f"{slug}-fixed", release.fixed)
    rows = certificate(release, bad, work / f"{slug}-certificate", profile, seed)["clauses"]
    for bug in release.bugs:
        row = next(filter(None, map(bug.shown_by, rows)), None)
        yield Finding(release, bug, row, reproduce(bug, bad), reproduce(bug, fixed))


def page(findings: list[Finding], skipped: dict[str, str], profile: str, seed: int) -> str:
    """The table in Markdown, and below it the reproducers."""
    lines = [
        "# Known-bad releases", "",
        f"Written by `python -m tests.known_bad`, which `tox -e known-bad` runs: "
        f"profile {profile}, seed {seed}, no deviations. *Exit codes* are those of the",
        "reproducer, a script in plain framework code, on the release and on the fixed one.", "",
        "| release | fixed in | published bug | found by | smallest case | exit codes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for number, f in enumerate(findings, start=1):
        who = f"{f.row['id']} ({f.row['verdict']}, {f.row['surface']})" if f.row else "**not found**"
        case = facts.case_line(f.row["evidence"]["case"]) if f.row else ""
        cells = (f.release.name, f.release.fixed[0], f"[{f.bug.name}]({f.bug.link}): {f.bug.summary}", who, case)
        lines.append(f"| {' | '.join(cells)} | [{f.bad}, {f.fixed}](#bug-{number}) |")
    lines += ["", *(f"Skipped: {name}: {reason}" for name, reason in skipped.items())]
    for number, f in enumerate(findings, start=1):
        lines += [
            f"## Bug {number}",
            "",
            f"{f.release.name}, {f.bug.name}: exit code {f.bad}; {f.release.fixed[0]}: {f.fixed}.",
        ]
        if f.row:
            lines += ["", f"The suite says: {' '.join(str(f.row['evidence']['message']).split())}"]
        lines += ["", "```python", f.bug.reproducer.strip(), "```", ""]
    return "\n".join(lines)


@click.command()
@click.option("--profile", default="standard", show_default=True, help="Profile of the suite.")
@click.option("--seed", default=0, show_default=True, help="Seed of the suite.")
@click.option("--only", default="", help="Only releases whose name holds this text.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder that keeps the environments.  [default: none is kept]"
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the table to this file.")
def main(profile: str, seed: int, only: str, work: Path | None, report: Path | None) -> None:
    """Exit code 0 where every bug of every release that installs is found."""
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as passing:
        for release in load(DATA.read_text(encoding="utf-8")):
            if only not in release.name:
                continue
            try:
                findings += attack(release, work or Path(passing), profile, seed)
            except NotInstalledError as reason:
                skipped[release.name] = str(reason)
    for finding in findings:
        print(f"{'found' if finding.found else 'NOT FOUND':9}  {finding.release.name}: {finding.bug.name}")
    for name, reason in skipped.items():
        print(f"skipped    {name}: {reason}")
    if report is not None:
        report.write_text(page(findings, skipped, profile, seed), encoding="utf-8")
    sys.exit(0 if findings and all(finding.found for finding in findings) else 1)


if __name__ == "__main__":
    main()
