"""The last thing a run prints: one table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate
from conv1d_cts.reports.text import one_line

_STYLES: Final = {
    "conformant": "bold green",
    "conformant with deviations": "bold yellow",
    "nonconformant": "bold red",
    "partial": "bold magenta",
    "error": "bold red",
}
_NARROW: Final = 100
_FINDING: Final = {True: 90, False: 160}


def show(certificates: Sequence[Certificate], console: Console | None = None) -> None:
    """Print the table; rich leaves the colours out where there is no terminal or NO_COLOR is set."""
    console = console or Console()
    console.print(table(certificates, narrow=console.width < _NARROW))
    for certificate in certificates:
        for line in _arithmetic(certificate):
            console.print(Text(line))
    for line in _notes(certificates):
        console.print(Text(line))


def table(certificates: Iterable[Certificate], *, narrow: bool = True) -> Table:
    """One row a backend; `narrow` shortens the finding so that a row stays a few lines in 80 columns."""
    grid = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for heading, least, most in (("backend", 7, 12), ("version", 7, 9), ("device", 6, 7), ("verdict", 13, 14)):
        grid.add_column(heading, overflow="fold", min_width=least, max_width=most if narrow else None)
    for heading in ("pass", "fail", "dev.", "uns."):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("worst finding", overflow="fold", min_width=13)
    for certificate in certificates:
        grid.add_row(*_row(certificate, _FINDING[narrow]))
    return grid


def _row(certificate: Certificate, limit: int) -> list[Text]:
    backend, verdict = certificate["backend"], certificate["verdict"]
    tally, worst = facts.counts(certificate), facts.worst(certificate)
    return [
        Text(one_line(backend["name"], 40)),
        Text(one_line(facts.version(certificate), 40)),
        Text(one_line(backend["device"], 20)),
        Text(verdict, style=_STYLES[verdict]),
        Text(str(tally["pass"])),
        Text(str(facts.failed(certificate))),
        Text(str(tally["deviation"])),
        Text(str(tally["unsupported"])),
        Text(one_line(worst.line, limit) if worst else "none"),
    ]


def _arithmetic(certificate: Certificate) -> list[str]:
    """What arithmetic the backend computes in: the classes, and a sentence for each that is looser than it might be."""
    found = facts.classes(certificate)
    if not found:
        return []
    name = one_line(f"{certificate['backend']['name']} on {certificate['backend']['device']}", 60)
    told = "; ".join(f"{class_}: {one_line(', '.join(dtypes), 200)}" for class_, dtypes in found.items())
    return ["", f"Arithmetic of {name}: {told}.", *(f"  {line}." for line in facts.arithmetic(certificate))]


def _notes(certificates: Sequence[Certificate]) -> list[str]:
    notes = ["", "Counts are clauses, each on every surface: passed, failed, deviating, unsupported."]
    if any(facts.warnings(certificate) for certificate in certificates):
        notes.append("A failed SHOULD is a warning: it is counted and denies nothing.")
    if any(map(facts.cut_short, certificates)):
        notes.append("A partial run was cut short: what it did not try says nothing.")
    fuzzed = (
        (one_line(certificate["backend"]["name"], 60), facts.fuzzing(certificate)) for certificate in certificates
    )
    return notes + [f"{name} was {more}." for name, more in fuzzed if more]
