"""`explain`: a clause with its checks, or a geometry with its pads and the call in each framework."""

from __future__ import annotations

from difflib import get_close_matches

import click

from conv1d_cts.adapters import equivalents
from conv1d_cts.commands.common import Mistake
from conv1d_cts.conformance import catalog
from conv1d_cts.spec import explanation
from conv1d_cts.spec.clauses import clauses
from conv1d_cts.spec.geometry import Geometry


@click.command("explain")
@click.argument("clause", required=False)
@click.option("--length", type=click.IntRange(0, 100_000), help="L, samples of the input.")
@click.option("--kernel", type=click.IntRange(1, 100_000), help="K, taps of the kernel.")
@click.option("--stride", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--dilation", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--padding", default="valid", show_default=True, help="A name, a number for both sides, or LO,HI.")
def explain(
    clause: str | None, length: int | None, kernel: int | None, stride: int, dilation: int, padding: str
) -> None:
    """A CLAUSE with its checks; or, for --length and --kernel, pads, L_out, unread samples, calls of frameworks."""
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
        geometry = Geometry(1, 1, 1, length, kernel, stride, dilation, 1, pads)
    except ValueError as mistake:
        raise Mistake(str(mistake)) from None
    return f"{explanation.explain(geometry)}\n\n{equivalents.explain(geometry)}"
