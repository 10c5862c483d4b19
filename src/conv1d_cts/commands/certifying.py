"""`certify`: carry out the checks on backends, write their certificates, show what was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from conv1d_cts import reports
from conv1d_cts.adapters import registry
from conv1d_cts.commands.common import FILE, FOLDER, Mistake, interpreter_at, make_folder, say
from conv1d_cts.conformance.certify import SUITE, Outcome, certify
from conv1d_cts.conformance.pool import PROFILES
from conv1d_cts.conformance.progress import display
from conv1d_cts.conformance.session import Options

_SHOWN = 12  # findings printed after a backend; the certificate has all


@click.command("certify")
@click.argument("backends", nargs=-1, required=True, metavar="NAME|FILE.py ...")
@click.option("--device", default="cpu", show_default=True, help="Device to compute on: cpu, gpu, cuda:1.")
@click.option("--surface", "surfaces", multiple=True, help="Only this surface; may be repeated.  [default: all]")
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="standard",
    show_default=True,
    help="How far; quick: the first surface.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every case.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="Backends that work at once.  [default: one a core, at most 4]"
)
@click.option("--python", help="Interpreter that has the framework.  [default: this one; python3 on another host]")
@click.option("--host", default="", metavar="[USER@]HOST", help="Run it there over ssh; its Python has this package.")
@click.option("--deviations", type=FILE, help="Known deviations of the one backend.  [default: the recorded ones]")
@click.option("-q", "--quiet", is_flag=True, help="Print the final table alone.")
@click.option("-v", "--verbose", is_flag=True, help="Print every finding, not the worst alone.")
@click.option("--out", type=FOLDER, default=Path("reports/out"), show_default=True, help="Folder of the certificates.")
def certify_backends(
    backends: tuple[str, ...],
    device: str,
    surfaces: tuple[str, ...],
    profile: str,
    seed: int,
    jobs: int | None,
    python: str | None,
    host: str,
    deviations: Path | None,
    quiet: bool,
    verbose: bool,
    out: Path,
) -> None:
    """Certify backends one after another.

    Exit code 0: as expected, known deviations included; 1: a MUST clause failed that no deviation expects, or a
    deviation no longer occurs; 2: usage; 3: the suite or the installation failed.
    """
    _check_backends(backends)
    interpreter = (python or "python3") if host else interpreter_at(python or sys.executable)
    if deviations is not None and len(backends) > 1:
        raise Mistake("--deviations belongs to one backend")
    if quiet and verbose:
        raise Mistake("--quiet or --verbose, not both")
    told = 0 if quiet else sys.maxsize if verbose else _SHOWN
    make_folder(out)
    outcomes: list[Outcome] = []
    for backend in backends:
        options = Options(
            backend, device, surfaces, profile, seed, interpreter, host,
            deviations=str(deviations or ""), jobs=jobs or _jobs(),
        )  # fmt: skip
        taken = [outcome.path for outcome in outcomes if outcome.path]
        outcomes.append(_certify_one(options, out, taken, told))
        if outcomes[-1].interrupted:
            break
    _show_table(outcomes)
    sys.exit(max(outcome.code for outcome in outcomes))


def _jobs() -> int:
    """One a core, but no more than the memory of a usual machine holds of a large framework."""
    return min(4, os.cpu_count() or 1)


def _check_backends(backends: Sequence[str]) -> None:
    """Unknown names are an error before anything runs."""
    try:
        for backend in backends:
            registry.find(backend)
    except (registry.UnknownBackendError, FileNotFoundError) as mistake:
        raise Mistake(str(mistake)) from None


def _certify_one(options: Options, folder: Path, taken: list[Path], told: int) -> Outcome:
    """The certificate of one backend, and its progress and as many findings as are to be `told`."""
    console = Console(stderr=True, quiet=not told)
    try:
        outcome = certify(options, folder, display(console, Path(options.backend).stem), taken)
    except OSError as error:
        outcome = Outcome(SUITE, message=f"{options.backend}: {error}")
    if outcome.message:
        say(outcome.message)
    if outcome.path is not None and told:
        _show_findings(outcome.path, told)
    return outcome


def _show_findings(path: Path, told: int) -> None:
    certificate = reports.load(path)
    if certificate["verdict"] == "error":
        return
    found = [finding.line for finding in reports.findings(certificate)]
    for line in found[:told]:
        say(f"  {line}")
    if len(found) > told:
        say(f"  and {len(found) - told} more")


def _show_table(outcomes: Sequence[Outcome]) -> None:
    written = list(dict.fromkeys(outcome.path for outcome in outcomes if outcome.path is not None))
    if written:
        reports.show([reports.load(path) for path in written])
        for path in written:
            click.echo(path)
