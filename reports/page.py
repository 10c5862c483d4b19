"""index.html: one file, no network, readable without JavaScript, and safe whatever a backend said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conv1d_cts.reports import facts, grid, pictures
from conv1d_cts.reports.certificate import Certificate
from conv1d_cts.reports.rendering import environment, policy, source
from conv1d_cts.reports.text import visible
from conv1d_cts.spec.clauses import Clause


def page(
    certificates: Sequence[Certificate],
    broken: Sequence[str],
    clauses: Mapping[str, Clause],
    prose: Mapping[str, str],
    contradictions: Sequence[str] = (),
) -> str:
    """The HTML page, with the prose of each chapter by its title, and lines on what was not read or is contradicted.

    Its Content-Security-Policy allows this style and this script, by hash, and nothing else.
    """
    style, script = source("page.css"), source("page.js")
    shown = grid.panels(certificates)
    chapters = grid.chapters(shown, clauses, prose)
    seen = {row["verdict"] for certificate in certificates for row in certificate["clauses"]}
    html = (
        environment()
        .get_template("index.html.j2")
        .render(
            style=style,
            script=script,
            policy=policy(style, script),
            headline=_headline(certificates),
            panels=shown,
            columns=[column for panel in shown for column in panel.columns],
            chapters=chapters,
            clause_count=len(clauses),
            dtypes=sorted({d for c in certificates for row in c["clauses"] for d in facts.dtypes(row)}),
            verdicts=[verdict for verdict in facts.VERDICTS if verdict in seen],
            speed=list(pictures.speed(certificates)),
            drawn=pictures.available(),
            notices=_notices({"Not read": broken, "Contradictions": contradictions}),
        )
    )
    return html.replace("&#39;", "'")  # conditions are full of them, and no attribute here is in single quotes


def _notices(lines: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {title: [visible(line) for line in found] for title, found in lines.items() if found}


def _headline(certificates: Sequence[Certificate]) -> str:
    certified = sum(certificate["verdict"] in facts.CERTIFIED for certificate in certificates)
    if not certificates:
        return "No certificate was found."
    if len(certificates) == 1:
        return "This backend is certified." if certified else "This backend is not certified."
    if certified == len(certificates):
        return "Every backend here is certified."
    verb = "is" if certified == 1 else "are"
    return f"{certified or 'None'} of {len(certificates)} backends {verb} certified."
