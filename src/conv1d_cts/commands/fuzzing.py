"""`fuzz`: go on where a certificate ends, with new cases, until stopped."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from conv1d_cts import reports
from conv1d_cts.adapters.registry import UnknownBackendError
from conv1d_cts.commands.common import FOLDER, Mistake, interpreter_at, make_folder, say
from conv1d_cts.conformance import fuzz
from conv1d_cts.conformance.certify import AS_EXPECTED, SUITE, UNEXPECTED, explain_broken
from conv1d_cts.conformance.interruption import Interruption
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.ledger import FAILURES, Tally
from conv1d_cts.conformance.session import Options, Session, UnknownOptionError, certificate_path
from conv1d_cts.spec.clauses import clauses


@click.command("fuzz")
@click.argument("backend", metavar="NAME|FILE.py")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long.  [default: until stopped]")
@click.option("--device", default="cpu", show_default=True, help="Device to compute on: cpu, gpu, cuda:1.")
@click.option(
    "--surface", "surfaces", multiple=True, help="Only this surface; may be repeated.  [default: all certified]"
)
@click.option("--python", help="Interpreter that has the framework.  [default: this one]")
@click.option("--out", type=FOLDER, default=Path("reports/out"), show_default=True, help="Folder of the certificate.")
@click.option(
    "--database", type=FOLDER, help="Hypothesis's examples; several machines may share it.  [default: OUT/fuzzing]"
)
def go_on(
    backend: str,
    minutes: float | None,
    device: str,
    surfaces: tuple[str, ...],
    python: str | None,
    out: Path,
    database: Path | None,
) -> None:
    """Try new cases on a backend until stopped, and add what fails to its certificate.

    Each case that failed is kept, and tried first by the next run on the same database. Ctrl-C ends it like the end of
    its time. Exit code 0: nothing new; 1: a MUST clause failed; 2: usage; 3: the suite failed.
    """
    options = Options(backend, device, surfaces, python=interpreter_at(python or sys.executable))
    with (interruption := Interruption()).watched(), closing(_session(options)) as session:
        path = certificate_path(out, session.name, session.options.device)
        targets = fuzz.targets(session, _open(_certificate(path, session)))
        make_folder(kept := database or out / "fuzzing")
        started = time.monotonic()
        try:
            _fuzz(targets, kept, minutes, interruption)
        except KeyboardInterrupt:
            say("stopped")
        interruption.writing = True
        tallies = [target.tally for target in targets]
        reports.dump(fuzz.amended(dict(_load(path)), tallies, time.monotonic() - started), path)
    reports.show([_load(path)])
    click.echo(path)
    sys.exit(_code(tallies))


def _session(options: Options) -> Session:
    try:
        return Session(options)
    except (UnknownBackendError, FileNotFoundError, UnknownOptionError) as mistake:
        raise Mistake(str(mistake)) from None
    except (Broken, Died) as problem:
        say(f"{options.backend}: {explain_broken(problem, options.python)}")
        sys.exit(SUITE)


def _load(path: Path) -> reports.Certificate:
    try:
        return reports.load(path)
    except reports.CertificateError as mistake:
        raise Mistake(str(mistake)) from None


def _certificate(path: Path, session: Session) -> reports.Certificate:
    """The certificate that is to be gone on from: of this backend at these versions."""
    if not path.is_file():
        raise Mistake(f"no certificate {path} to go on from: conv1d-cts certify {session.options.backend}")
    certificate = _load(path)
    for surface in session.options.surfaces:
        if surface not in certificate["backend"]["surfaces"]:
            raise Mistake(f"{path} has no surface {surface!r}; it has: {', '.join(certificate['backend']['surfaces'])}")
    here, there = session.description["versions"], certificate["backend"]["versions"]
    if here != there:
        raise Mistake(f"{path} is of {_versions(there)}, and here is {_versions(here)}: certify it again")
    return certificate


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "nothing"


def _open(certificate: reports.Certificate) -> set[tuple[str, str]]:
    """The clauses and surfaces of which the certificate knows no failure."""
    rows = (row for row in certificate["clauses"] if row["verdict"] not in (*FAILURES, "error"))
    return {(row["id"], row["surface"]) for row in rows}


def _fuzz(targets: Sequence[fuzz.Target], database: Path, minutes: float | None, interruption: Interruption) -> None:
    """Fuzz under a bar that grows with the time; each failure is a line as soon as it is known."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task, started = bar.add_task("", total=minutes and 60 * minutes), time.monotonic()

        def tell(tally: Tally) -> None:
            examples = sum(target.tally.counts.total() for target in targets)
            bar.update(task, description=f"{examples} examples", completed=time.monotonic() - started)
            if tally.kind:
                console.print(Text(tally.line), soft_wrap=True)
            interruption.check()

        fuzz.fuzz(targets, database, 60 * minutes if minutes else math.inf, tell)


def _code(tallies: Iterable[Tally]) -> int:
    """3 where the suite failed, 1 where a MUST did, otherwise 0."""
    kinds = {tally.kind for tally in tallies if tally.kind == "error" or clauses()[tally.clause].level == "MUST"}
    return SUITE if "error" in kinds else UNEXPECTED if kinds & set(FAILURES) else AS_EXPECTED
