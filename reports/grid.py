"""What index.html shows, as plain values: a panel for each backend, a chapter for each part of the spec, the cells.

A cell's anchor is `<backend>-<surface>-<clause>`. It is a deep link, so it depends as little as can be on the rest of
the folder: device, version and a number are added only where two backends would share it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from conv1d_cts.reports import evidence, facts, pictures
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.evidence import Block, Recorded
from conv1d_cts.reports.facts import Finding
from conv1d_cts.reports.pictures import Picture
from conv1d_cts.reports.rendering import markdown_html
from conv1d_cts.reports.text import one_line, shorten, slug, visible
from conv1d_cts.spec.clauses import Clause

_DRAWN: Final = 2  # failures of a backend: pictures are large
_UNKNOWN: Final = "Clauses that this version of the spec does not have"


@dataclass(frozen=True, slots=True)
class Cell:
    """A verdict of one clause on one surface; without blocks there is nothing to open.

    `told` is short, telling examples of those run: "118/120"; `examples` has every count in words.
    """

    verdict: str
    css: str
    anchor: str
    backend: str
    name: str
    surface: str
    told: str
    examples: str
    blocks: tuple[Block, ...]
    dtypes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The surfaces of one backend that came to the same verdict on a clause, without evidence: name and counts."""

    backend: str
    name: str
    verdict: str
    css: str
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One surface of one backend; `first` of its backend draws the line between two backends."""

    backend: str
    anchor: str
    surface: str
    first: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One clause with its cells, one for each column; None where the certificate has no such row."""

    id: str
    level: str
    title: str
    html: Markup
    cells: tuple[Cell | None, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """The clauses of one chapter after its prose; `passed` counts "7/9" for each column."""

    key: str
    title: str
    html: Markup
    rows: tuple[Row, ...]
    passed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One backend on the first screen."""

    slug: str
    name: str
    version: str
    device: str
    verdict: str
    sentence: str
    columns: tuple[Column, ...]
    counts: tuple[tuple[str, int], ...]
    findings: tuple[tuple[Finding, str], ...]
    how: tuple[str, ...]
    arithmetic: tuple[tuple[str, str], ...]
    loose: tuple[str, ...]
    certificate: Certificate
    facts: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    limits: tuple[tuple[str, ...], ...]
    deviations: Mapping[tuple[str, ...], Recorded]

    @property
    def unexpected(self) -> list[tuple[Finding, str]]:
        """The findings that are no recorded deviations."""
        return [found for found in self.findings if found[0].kind != "deviation"]


def panels(certificates: Sequence[Certificate]) -> tuple[Panel, ...]:
    """The backends in the order given, each with an anchor of its own."""
    return tuple(_panel(c, name) for c, name in zip(certificates, _slugs(certificates), strict=True))


def chapters(shown: Sequence[Panel], clauses: Mapping[str, Clause], prose: Mapping[str, str]) -> tuple[Chapter, ...]:
    """Every clause of the spec in its order, then those that only the certificates know; `prose` is by chapter."""
    known = dict(clauses)
    for row in (row for panel in shown for row in panel.certificate["clauses"]):
        known.setdefault(row["id"], Clause(row["id"], row["level"], "Not in this version of the spec", "", _UNKNOWN))
    rows = [_row(clause, shown, known) for clause in known.values()]
    titles = list(dict.fromkeys(clause.chapter for clause in known.values()))
    grouped = {title: tuple(row for row in rows if known[row.id].chapter == title) for title in titles}
    return tuple(
        Chapter(_key(title, group), title, markdown_html(prose.get(title, ""), known), group, _passed(group))
        for title, group in grouped.items()
    )


def _key(title: str, rows: Sequence[Row]) -> str:
    return "unknown" if title == _UNKNOWN else rows[0].id.partition("-")[0]


def _passed(rows: Sequence[Row]) -> tuple[str, ...]:
    columns = [[cell for cell in column if cell] for column in zip(*(row.cells for row in rows), strict=True)]
    return tuple(f"{sum(cell.verdict == 'pass' for cell in column)}/{len(column)}" for column in columns)


def _slugs(certificates: Iterable[Certificate]) -> list[str]:
    """The shortest of name, name-device, name-device-version, and a number if need be, that tells backends apart."""
    backends = [
        (slug(c["backend"]["name"]), slug(c["backend"]["device"]), slug(facts.version(c))) for c in certificates
    ]
    names = ["-".join(parts[:1]) for parts in backends]
    for depth in (2, 3):
        taken = Counter(names)
        names = ["-".join(p[:depth]) if taken[name] > 1 else name for p, name in zip(backends, names, strict=True)]
    seen: Counter[str] = Counter()
    return [_numbered(name, seen) for name in names]


def _numbered(name: str, seen: Counter[str]) -> str:
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}.{seen[name]}"


def _panel(certificate: Certificate, name: str) -> Panel:
    backend, tally = certificate["backend"], facts.counts(certificate)
    surfaces = list(dict.fromkeys([*backend["surfaces"], *(row["surface"] for row in certificate["clauses"])]))
    seen: Counter[str] = Counter()
    columns = tuple(Column(name, f"{name}-{_numbered(slug(s), seen)}", s, s == surfaces[0]) for s in surfaces)
    anchors = {column.surface: column.anchor for column in columns}
    return Panel(
        slug=name,
        name=one_line(backend["name"], 40),
        version=one_line(facts.version(certificate), 60),
        device=one_line(backend["device"], 40),
        verdict=certificate["verdict"],
        sentence=_sentence(certificate),
        columns=columns,
        counts=tuple((verdict, number) for verdict, number in tally.items() if number),
        findings=tuple((f, f"{anchors[f.surface]}-{f.clause}") for f in facts.findings(certificate)),
        how=tuple(facts.how(certificate, {})),
        arithmetic=tuple(_arithmetic(certificate)),
        loose=tuple(facts.arithmetic(certificate)),
        certificate=certificate,
        facts=tuple(_facts(certificate)),
        pictures=tuple(pictures.of_backend(certificate, name)),
        limits=tuple(_limits(certificate)),
        deviations=evidence.recorded(certificate, name),
    )


def _sentence(certificate: Certificate) -> str:
    rows = certificate["clauses"]
    broken = len({row["id"] for row in rows if row["verdict"] in facts.FAILED and row["level"] == "MUST"})
    deviating = len({row["id"] for row in rows if row["verdict"] == "deviation"})
    said = {
        "conformant": "Certified: every MUST clause that it supports holds.",
        "conformant with deviations": f"Certified, with recorded deviations from {_number(deviating)}.",
        "nonconformant": f"Not certified: it violates {_number(broken)} of level MUST.",
        "partial": "Not certified: the run was cut short, so this is only part of the picture.",
        "error": "Not judged: the suite or the installation failed. This says nothing about the backend.",
    }[certificate["verdict"]]
    further = facts.cut_short(certificate) and certificate["verdict"] != "partial"
    return f"{said} The run was cut short, so there may be more." if further else said


def _number(clauses: int) -> str:
    return f"{clauses} clause" if clauses == 1 else f"{clauses} clauses"


def _arithmetic(certificate: Certificate) -> Iterable[tuple[str, str]]:
    """Each dtype with its classes: one where all surfaces agree, the surfaces named where they do not."""
    for dtype in dict.fromkeys(row["dtype"] for row in certificate["arithmetic"]):
        rows = [row for row in certificate["arithmetic"] if row["dtype"] == dtype]
        classes = list(dict.fromkeys(row["class"] for row in rows))
        told = classes if len(classes) == 1 else [f"{row['class']} on {row['surface']}" for row in rows]
        yield one_line(dtype, 40), one_line(", ".join(told), 200)


def _limits(certificate: Certificate) -> Iterable[tuple[str, ...]]:
    """Each limit once: its surfaces, when, reason, what it is known by, and what came of trying it."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for limit in certificate["limits"]:
        known = "probing" if limit["found"] else "declaration"
        told = tuple(shorten(visible(text), 400) for text in (limit["when"], limit["reason"], known, limit["verdict"]))
        alike.setdefault(told, []).append(one_line(limit.get("surface", "any"), 40))
    for told, surfaces in alike.items():
        yield ", ".join(surfaces), *told


def _facts(certificate: Certificate) -> Iterable[tuple[str, str]]:
    suite, run = certificate["suite"], certificate["run"]
    versions = sorted(certificate["backend"]["versions"].items())
    yield "versions", visible(", ".join(f"{name} {number}" for name, number in versions))
    yield "device", facts.device(certificate)
    yield "suite", visible(f"{suite['version']}, profile {suite['profile']}, seed {suite['seed']}")
    if more := facts.fuzzing(certificate):
        yield "fuzzing", more
    for key in sorted(run):
        value = run[key]
        yield one_line(key, 40), shorten(visible(value if isinstance(value, str) else json.dumps(value)), 300)


def _row(clause: Clause, shown: Sequence[Panel], known: Mapping[str, Clause]) -> Row:
    cells: list[Cell | None] = []
    for panel in shown:
        found = {row["surface"]: row for row in panel.certificate["clauses"] if row["id"] == clause.id}
        cells += [_cell(panel, column, found.get(column.surface)) for column in panel.columns]
    html = markdown_html(clause.text, known)
    return Row(clause.id, clause.level, clause.title, html, tuple(cells), tuple(_groups(shown, cells)))


def _groups(shown: Sequence[Panel], cells: Iterable[Cell | None]) -> Iterable[Group]:
    """The cells without evidence, those of a backend with one verdict together."""
    plain = [cell for cell in cells if cell and not cell.blocks]
    for panel in shown:
        own = [cell for cell in plain if cell.backend == panel.slug]
        for verdict in dict.fromkeys(cell.verdict for cell in own):
            alike = [cell for cell in own if cell.verdict == verdict]
            members = tuple((cell.surface, cell.told) for cell in alike)
            yield Group(panel.slug, panel.name, verdict, alike[0].css, members)


def _cell(panel: Panel, column: Column, row: ClauseRow | None) -> Cell | None:
    if row is None:
        return None
    counted = row["examples"]
    return Cell(
        verdict=row["verdict"],
        css=row["verdict"].replace(" ", "-"),
        anchor=f"{column.anchor}-{row['id']}",
        backend=panel.slug,
        name=panel.name,
        surface=one_line(column.surface, 40),
        told=f"{counted['telling']:,}/{counted['run']:,}",
        examples=_examples(row),
        blocks=tuple(evidence.blocks(panel.certificate, row, panel.deviations)),
        dtypes=tuple(facts.dtypes(row)),
        pictures=tuple(_drawn(panel, row, f"{column.anchor}-{row['id']}")),
    )


def _drawn(panel: Panel, row: ClauseRow, name: str) -> Iterable[Picture]:
    """The geometry of a failure that nobody expected, of the worst ones."""
    found, worst = row["evidence"], [(f.clause, f.surface) for f, _ in panel.findings[:_DRAWN]]
    if row["verdict"] in facts.FAILED and "case" in found and (row["id"], row["surface"]) in worst:
        yield from pictures.of_case(found["case"], str(found.get("message", "")), name)


def _examples(row: ClauseRow) -> str:
    told = ", ".join(f"{number:,} {name}" for name, number in row["examples"].items() if number and name != "run")
    return f"{row['examples']['run']:,} run" + (f": {told}" if told else "")
