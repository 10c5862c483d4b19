"""`list`, `new-adapter` and `vectors`: what there is to certify, and the ways for a new backend."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conv1d_cts.adapters import registry
from conv1d_cts.commands.common import EXISTING, FILE, FOLDER, Mistake, make_folder
from conv1d_cts.conformance import listing
from conv1d_cts.conformance.certify import AS_EXPECTED, SUITE, UNEXPECTED
from conv1d_cts.conformance.vectors import corpus, results


@click.command("list")
def list_backends() -> None:
    """Adapters with versions and devices, or the reason where one is missing."""
    for line in listing.lines():
        click.echo(line)


@click.command("new-adapter")
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


@click.command("vectors")
@click.option("--out", type=FOLDER, help="Write the vectors into this folder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every case.")
@click.option("--check", type=EXISTING, metavar="DIR",
              help="Judge RESULTS computed from the vectors of DIR.")  # fmt: skip
@click.argument("computed", type=FILE, required=False, metavar="[RESULTS]")
def vectors(out: Path | None, seed: int, check: Path | None, computed: Path | None) -> None:
    """Cases with what is right of them as JSON, for a backend that can't be driven from Python.

    `vectors --out DIR` writes them, `vectors --check DIR RESULTS` judges a file of results (spec/annex-vectors.md).
    Exit code 0: every clause as it should be; 1: a clause failed; 2: usage; 3: a result is missing.
    """
    if (out is None) == (check is None) or (check is None) != (computed is None):
        raise Mistake("give --out DIR, or --check DIR RESULTS")
    if out is not None:
        make_folder(out)
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
