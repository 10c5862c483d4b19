"""`report`, `diff` and `history`: what certificates say, and what changed between them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conv1d_cts import reports
from conv1d_cts.commands.common import EXISTING, FILE, Mistake, say
from conv1d_cts.conformance.certify import SUITE


@click.command("report")
@click.argument("folder", type=EXISTING, metavar="DIR")
def merge(folder: Path) -> None:
    """Merge the certificates of DIR into index.html, summary.md, junit.xml and badges.

    Several of one backend, from other machines or of other surfaces, count as one; where they contradict each other is
    said.

    Exit code 2 where DIR holds no certificate, 3 where one of its files can't be read as one.
    """
    if not any(folder.glob("*.json")):
        raise Mistake(f"no certificate in {folder}")
    try:
        paths = reports.write_report(folder)
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None
    reports.show(paths.certificates)
    for line in (*paths.broken, *(f"contradiction: {line}" for line in paths.contradictions)):
        say(line)
    click.echo(paths.index.resolve())
    sys.exit(SUITE if paths.broken else 0)


@click.command("diff")
@click.argument("old", type=FILE, metavar="OLD.json")
@click.argument("new", type=FILE, metavar="NEW.json")
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


@click.command("history")
@click.argument("folder", type=EXISTING, metavar="DIR")
def tell_history(folder: Path) -> None:
    """Write DIR/history.html: which release changed what, of the certificates in DIR and below.

    Exit code 3 where a JSON file can't be read as a certificate.
    """
    try:
        index, broken = reports.history.write_history(folder)
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None
    for line in broken:
        say(line)
    click.echo(index.resolve())
    sys.exit(SUITE if broken else 0)
