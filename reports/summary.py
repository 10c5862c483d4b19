"""summary.md: the certificates for a pull request, a terminal, an issue tracker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.text import SCRIPT, fenced, markdown, one_line, shorten
from conv1d_cts.spec.clauses import Clause

_HEADINGS: Final = (
    "backend", "version", "device", "verdict",
    "passed", "failed", "deviating", "unsupported", "refused", "vacuous", "not judged", "worst finding",
)  # fmt: skip
_LIMIT: Final = 4000


def summary(
    certificates: Sequence[Certificate],
    broken: Sequence[str],
    clauses: Mapping[str, Clause],
    contradictions: Sequence[str] = (),
) -> str:
    """The Markdown page: one table, then every failure and each deviation once, with a case and its reproducer."""
    lines = ["# conv1d conformance", "", *_notes(certificates, broken, contradictions), *_table(certificates)]
    lines += _accuracy(certificates)
    lines += _arithmetic(certificates)
    for certificate in certificates:
        lines += _details(certificate, clauses)
    return "\n".join(lines).rstrip("\n") + "\n"


def _notes(certificates: Iterable[Certificate], broken: Iterable[str], contradictions: Iterable[str]) -> Iterator[str]:
    for line in broken:
        yield from (f"> **Not read:** {markdown(line)}", "")
    for line in contradictions:
        yield from (f"> **Contradiction:** {markdown(line)}", "")
    for certificate in certificates:
        if facts.cut_short(certificate):
            yield from (f"> **Partial:** the run of {markdown(_title(certificate))} was cut short.", "")
    for certificate in certificates:
        if more := facts.fuzzing(certificate):
            yield from (f"> {markdown(_title(certificate))} was {more}.", "")
        for line in facts.arithmetic(certificate):
            yield from (f"> **{markdown(_title(certificate))}:** {markdown(line)}.", "")
    if any(facts.warnings(certificate) for certificate in certificates):
        yield from ("A failed SHOULD counts as failed here and denies no certification.", "")


def _table(certificates: Iterable[Certificate]) -> Iterator[str]:
    yield f"| {' | '.join(_HEADINGS)} |"
    yield f"|{' --- |' * 4}{' ---: |' * 7} --- |"
    for certificate in certificates:
        yield f"| {' | '.join(_cells(certificate))} |"
    yield ""


def _arithmetic(certificates: Iterable[Certificate]) -> Iterator[str]:
    """The classes of arithmetic, a row for each backend and class."""
    rows = [(c, name, dtypes) for c in certificates for name, dtypes in facts.classes(c).items()]
    if rows:
        yield from ("## Arithmetic", "", "| backend | class | dtypes |", "| --- | --- | --- |")
    for certificate, name, dtypes in rows:
        yield f"| {markdown(_title(certificate))} | {markdown(name)} | {markdown(', '.join(dtypes))} |"
    if rows:
        yield ""


def _cells(certificate: Certificate) -> list[str]:
    tally = facts.counts(certificate)
    worst = facts.worst(certificate)
    numbers = [tally["pass"], facts.failed(certificate), tally["deviation"], tally["unsupported"], tally["refused"],
               tally["vacuous"], tally["error"] + tally["not run"]]  # fmt: skip
    return [
        markdown(certificate["backend"]["name"]),
        markdown(facts.version(certificate)),
        markdown(certificate["backend"]["device"]),
        f"**{certificate['verdict']}**",
        *map(str, numbers),
        markdown(worst.line) if worst else "none",
    ]


def _accuracy(certificates: Iterable[Certificate]) -> Iterator[str]:
    """The worst errors: one line for each clause of each backend that is judged by bounds."""
    rows = [(certificate, found) for certificate in certificates for found in facts.accuracies(certificate)]
    if not rows:
        return
    yield from ("## Worst errors", "")
    yield "Of what passed: the largest error as a share of its proved bound, and in units in the last place (ulp)."
    yield "An error as large as the last column says, relative to the exact value, could not have been missed."
    yield from ("", "| backend | clause | surface | of the bound | ulp | element | seen from |")
    yield "| --- | --- | --- | ---: | ---: | --- | --- |"
    for certificate, found in rows:
        cells = [certificate["backend"]["name"], found.clause, found.surface, f"{found.of_bound:.3g}",
                 f"{found.ulps:.3g}", found.at, found.power]  # fmt: skip
        yield f"| {' | '.join(map(markdown, cells))} |"
    yield ""


def _details(certificate: Certificate, clauses: Mapping[str, Clause]) -> Iterator[str]:
    rows = {(row["id"], row["surface"]): row for row in certificate["clauses"]}
    found = facts.findings(certificate)
    if found:
        yield from (f"## {markdown(_title(certificate))}", "")
    for finding in (finding for finding in found if finding.kind not in ("error", "deviation")):
        row = rows[finding.clause, finding.surface]
        clause = clauses.get(row["id"])
        title = markdown(clause.title) if clause else "a clause that this version of the spec does not have"
        yield from (f"### {row['id']} {title}", "", f"{_kind(finding)} on `{_code(row['surface'])}`", "")
        yield from (*_facts(row["evidence"]), *_how(certificate, row["evidence"]))
        for further in row["evidence"].get("further", ()):
            yield from (f"Another check: **{further['verdict']}**", "", *_facts(further))
    places = dict.fromkeys((f.clause, f.surface) for f in found if f.kind == "deviation")
    yield from _known(certificate, [rows[place] for place in places])
    yield from _errors([row for row in certificate["clauses"] if row["verdict"] == "error"])


def _errors(rows: Sequence[ClauseRow]) -> Iterator[str]:
    """One paragraph for all of them, each message once: they tell of the installation, not of clauses."""
    if rows:
        yield from (f"Not judged, for the suite or the installation failed: {len(rows)} rows.", "")
    for message in dict.fromkeys(str(row["evidence"].get("message", "")) for row in rows):
        yield from (fenced(shorten(message, _LIMIT)), "")


def _kind(finding: facts.Finding) -> str:
    return f"**{'fail' if finding.kind == 'warning' else finding.kind}**" + (
        " (SHOULD: a warning)" if finding.kind == "warning" else ""
    )


def _known(certificate: Certificate, rows: Iterable[ClauseRow]) -> Iterator[str]:
    """Each recorded deviation once: where it shows, and its first case; the page has those of every clause."""
    shown: dict[tuple[str, str], list[tuple[ClauseRow, Mapping[str, Any]]]] = {}
    for row in rows:
        for entry in row["evidence"].get("deviations", ()):
            shown.setdefault((str(entry["reason"]), str(entry["reproducer"])), []).append((row, entry))
    if shown:
        (_, any_entry), *_rest = next(iter(shown.values()))
        yield from ("### Recorded deviations", "", *_how(certificate, any_entry))
    for (reason, _), places_of in shown.items():
        first = places_of[0][1]
        link = f" See <{_code(first['link'])}>." if str(first["link"]).startswith("https://") else ""
        yield from (f"**{markdown(reason.rstrip('.'))}.**{link}", "")
        places: dict[str, dict[str, None]] = {}
        for row, _entry in places_of:
            places.setdefault(row["id"], {})[f"`{_code(row['surface'])}`"] = None
        yield from (f"In {'; '.join(f'{clause} on {names}' for clause, names in _joined(places))}.", "")
        yield from _facts(first)


def _joined(places: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    return ((clause, ", ".join(names)) for clause, names in places.items())


def _facts(evidence: Mapping[str, Any]) -> Iterator[str]:
    for key in ("message", "when", "case", "expected", "got", "confirmed", "history", "no reproducer", "reproducer"):
        value = evidence.get(key)
        if value in (None, "", {}):
            continue
        text = facts.case_line(value) if isinstance(value, dict) else str(value)
        limit, language = (SCRIPT, "python") if key == "reproducer" else (_LIMIT, "text")
        yield from (f"{key}:", "", fenced(shorten(text, limit), language), "")


def _how(certificate: Certificate, evidence: Mapping[str, Any]) -> Iterator[str]:
    """How a reproducer is run, and on what it was."""
    if evidence.get("reproducer"):
        yield from (*(f"- {markdown(line)}" for line in facts.how(certificate, evidence)), "")


def _title(certificate: Certificate) -> str:
    backend = certificate["backend"]
    return f"{backend['name']} {facts.version(certificate)} on {backend['device']}"


def _code(text: str) -> str:
    return one_line(text, 200).replace("`", "'").replace("<", "").replace(">", "")
