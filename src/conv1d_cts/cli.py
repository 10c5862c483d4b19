"""The command line: list, certify, new-adapter, vectors, report, diff, history, explain.

A user's mistake is one line and exit code 2, never a traceback.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click
from rich.console import Console

import conv1d_cts
from conv1d_cts import reports
from conv1d_cts.adapters import registry
from conv1d_cts.conformance import catalog, listing
from conv1d_cts.conformance.certify import AS_EXPECTED, SUITE, UNEXPECTED, Outcome, certify
from conv1d_cts.conformance.pool import PROFILES
from conv1d_cts.conformance.progress import display
from conv1d_cts.conformance.session import Options
from conv1d_cts.conformance.vectors import corpus, results
from conv1d_cts.spec import explanation
from conv1d_cts.spec.clauses import clauses
from conv1d_cts.spec.geometry import Geometry

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_SHOWN = 12  # findings printed after a backend; the certificate has all


class Mistake(click.ClickException):
    """A user's mistake that click itself can't see: one line, exit code 2."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(conv1d_cts.__version__, prog_name="conv1d-cts")
def main() -> None:
    """Certify implementations of the 1-D convolution of neural networks, clause by clause."""


def _say(text: str) -> None:
    click.echo(text, err=True)


@main.command("list")
def list_backends() -> None:
    """Adapters with versions and devices, or the reason where one is missing."""
    for line in listing.lines():
        click.echo(line)


@main.command("certify")
@click.argument("backends", nargs=-1, required=True, metavar="NAME|FILE.py ...")
@click.option("--device", default="cpu", show_default=True, help="Device to compute on.")
@click.option("--surface", "surfaces", multiple=True, help="Only this surface; may be repeated.  [default: all]")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="standard", show_default=True, help="How far.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every case.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="Backends that work at once.  [default: one a core, at most 4]"
)
@click.option("--python", help="Interpreter that has the framework.  [default: this one; python3 on another host]")
@click.option("--host", default="", metavar="[USER@]HOST", help="Run it there over ssh; its Python has this package.")
@click.option("--deviations", type=_FILE, help="Known deviations of the one backend.  [default: the recorded ones]")
@click.option("-q", "--quiet", is_flag=True, help="Print the final table alone.")
@click.option("-v", "--verbose", is_flag=True, help="Print every finding, not the worst alone.")
@click.option("--out", type=_FOLDER, default=Path("reports/out"), show_default=True, help="Folder of the certificates.")
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
    interpreter = (python or "python3") if host else _interpreter(python or sys.executable)
    if deviations is not None and len(backends) > 1:
        raise Mistake("--deviations belongs to one backend")
    if quiet and verbose:
        raise Mistake("--quiet or --verbose, not both")
    told = 0 if quiet else sys.maxsize if verbose else _SHOWN
    _make_folder(out)
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


def _interpreter(python: str) -> str:
    """The path of the interpreter; not that of what it links to, which would leave its virtual environment."""
    found = shutil.which(python)
    if found is None:
        raise Mistake(f"no interpreter {python!r}")
    return str(Path(found).absolute())


def _make_folder(folder: Path) -> None:
    """Create the folder and prove that a file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None


def _certify_one(options: Options, folder: Path, taken: list[Path], told: int) -> Outcome:
    """The certificate of one backend, and its progress and as many findings as are to be `told`."""
    console = Console(stderr=True, quiet=not told)
    try:
        outcome = certify(options, folder, display(console, Path(options.backend).stem), taken)
    except OSError as error:
        outcome = Outcome(SUITE, message=f"{options.backend}: {error}")
    if outcome.message:
        _say(outcome.message)
    if outcome.path is not None and told:
        _show_findings(outcome.path, told)
    return outcome


def _show_findings(path: Path, told: int) -> None:
    certificate = reports.load(path)
    if certificate["verdict"] == "error":
        return
    found = [finding.line for finding in reports.findings(certificate)]
    for line in found[:told]:
        _say(f"  {line}")
    if len(found) > told:
        _say(f"  and {len(found) - told} more")


def _show_table(outcomes: Sequence[Outcome]) -> None:
    written = list(dict.fromkeys(outcome.path for outcome in outcomes if outcome.path is not None))
    if written:
        reports.show([reports.load(path) for path in written])
        for path in written:
            click.echo(path)


@main.command("new-adapter")
@click.argument("name")
def new_adapter(name: str) -> None:
    """Write NAME_adapter.py, a commented file to start an adapter from, into this folder."""
    try:
        file, text = registry.skeleton(name)
    except ValueError as mistake:
        raise Mistake(str(mistake)) from None
    try:
        with Path(file).open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as mistake:
        raise Mistake(f"cannot write {file}: {mistake.strerror}") from None
    click.echo(file)


@main.command("vectors")
@click.option("--out", type=_FOLDER, help="Write the vectors into this folder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every case.")
@click.option("--check", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Judge RESULTS computed from the vectors of DIR.")  # fmt: skip
@click.argument("computed", type=_FILE, required=False, metavar="[RESULTS]")
def vectors(out: Path | None, seed: int, check: Path | None, computed: Path | None) -> None:
    """Cases with what is right of them as JSON, for a backend that can't be driven from Python.

    `vectors --out DIR` writes them, `vectors --check DIR RESULTS` judges a file of results (spec/annex-vectors.md).
    Exit code 0: every clause as it should be; 1: a clause failed; 2: usage; 3: a result is missing.
    """
    if (out is None) == (check is None) or (check is None) != (computed is None):
        raise Mistake("give --out DIR, or --check DIR RESULTS")
    if out is not None:
        _make_folder(out)
        click.echo(corpus.write(out, seed))
    elif check is not None and computed is not None:
        sys.exit(_judge_results(check, computed))


def _judge_results(folder: Path, computed: Path) -> int:
    try:
        given = results.read_vectors(folder)
        rows = results.judged(given, results.read_results(computed, given))
    except (ValueError, OSError) as mistake:
        raise Mistake(str(mistake)) from None
    for line in results.report(rows):
        click.echo(line)
    verdicts = {row.verdict for row in rows}
    return UNEXPECTED if "fail" in verdicts else SUITE if "not run" in verdicts else AS_EXPECTED


@main.command("report")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
def merge(folder: Path) -> None:
    """Merge the certificates of DIR into index.html, summary.md, junit.xml and badges.

    Exit code 2 where DIR holds no certificate, 3 where one of its files can't be read as one.
    """
    if not any(folder.glob("*.json")):
        raise Mistake(f"no certificate in {folder}")
    try:
        paths = reports.write_report(folder)
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None
    reports.show(paths.certificates)
    for line in paths.broken:
        _say(line)
    click.echo(paths.index.resolve())
    sys.exit(SUITE if paths.broken else 0)


@main.command("diff")
@click.argument("old", type=_FILE, metavar="OLD.json")
@click.argument("new", type=_FILE, metavar="NEW.json")
@click.option(
    "--format", "form", type=click.Choice(["markdown", "json", "html"]), default="markdown", show_default=True
)
def compare(old: Path, new: Path, form: str) -> None:
    """What a change of version gained, lost and changed, clause by clause."""
    try:
        certificates = reports.load(old), reports.load(new)
    except reports.CertificateError as mistake:
        raise Mistake(str(mistake)) from None
    found = reports.diff(*certificates)
    if form == "html":
        click.echo(reports.history.page([reports.history.between(*certificates)]))
    else:
        click.echo(found.to_json() if form == "json" else found.to_markdown())


@main.command("history")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
def tell_history(folder: Path) -> None:
    """Write DIR/history.html: which release changed what, of the certificates in DIR and below.

    Exit code 3 where a JSON file can't be read as a certificate.
    """
    try:
        index, broken = reports.history.write_history(folder)
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None
    for line in broken:
        _say(line)
    click.echo(index.resolve())
    sys.exit(SUITE if broken else 0)


@main.command("explain")
@click.argument("clause", required=False)
@click.option("--length", type=click.IntRange(0, 100_000), help="L, samples of the input.")
@click.option("--kernel", type=click.IntRange(1, 100_000), help="K, taps of the kernel.")
@click.option("--stride", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--dilation", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--padding", default="valid", show_default=True, help="A name, a number for both sides, or LO,HI.")
def explain(
    clause: str | None, length: int | None, kernel: int | None, stride: int, dilation: int, padding: str
) -> None:
    """A CLAUSE with its checks; or, for --length and --kernel, the pads, L_out, and the samples that are never read."""
    if clause is not None and (length is None and kernel is None):
        click.echo(_clause(clause))
    elif clause is None and length is not None and kernel is not None:
        click.echo(_geometry(length, kernel, stride, dilation, padding))
    else:
        raise Mistake("give a clause, or both --length and --kernel")


def _clause(name: str) -> str:
    found = clauses().get(name.upper())
    if found is None:
        near = get_close_matches(name.upper(), clauses(), n=3, cutoff=0.3)
        raise Mistake(f"no clause {name!r}; nearest: {', '.join(near) or 'SHAPE-2, for example'}")
    checks = catalog.checks_of(found.id) or ["none"]
    return "\n".join([f"{found.id} ({found.level}) {found.title}", "", found.text, "", "checks:", *checks])


def _geometry(length: int, kernel: int, stride: int, dilation: int, padding: str) -> str:
    try:
        pads = explanation.parse_padding(padding)
        return explanation.explain(Geometry(1, 1, 1, length, kernel, stride, dilation, 1, pads))
    except ValueError as mistake:
        raise Mistake(str(mistake)) from None
