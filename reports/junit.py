"""junit.xml for CI: one suite a backend, one case for each clause and surface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree import ElementTree

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.text import one_line, shorten, visible
from conv1d_cts.spec.clauses import Clause

_LIMIT: Final = 4000


def junit(certificates: Iterable[Certificate], clauses: Mapping[str, Clause]) -> bytes:
    """UTF-8 XML. What neither passed nor failed is `skipped` with its verdict, for a skip is never a pass."""
    root = ElementTree.Element("testsuites", name="conv1d-cts")
    for certificate in certificates:
        _suite(root, certificate, clauses)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: ElementTree.Element, certificate: Certificate, clauses: Mapping[str, Clause]) -> None:
    tags = [_tag(row) for row in certificate["clauses"]]
    backend = certificate["backend"]
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=one_line(f"{backend['name']} {facts.version(certificate)} on {backend['device']}", 200),
        tests=str(len(tags)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error")),
        skipped=str(tags.count("skipped")),
        time=str(certificate["run"].get("seconds", 0)),
    )
    for row, tag in zip(certificate["clauses"], tags, strict=True):
        clause = clauses.get(row["id"])
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=one_line(f"{backend['name']}.{row['surface']}", 200),
            name=f"{row['id']} {clause.title}" if clause else row["id"],
        )
        if tag is not None:
            _outcome(case, tag, row)


def _tag(row: ClauseRow) -> str | None:
    if row["verdict"] == "pass":
        return None
    if row["verdict"] == "error":
        return "error"
    return "failure" if row["verdict"] in facts.FAILED and row["level"] == "MUST" else "skipped"


def _outcome(case: ElementTree.Element, tag: str, row: ClauseRow) -> None:
    evidence = row["evidence"]
    reasons = [str(entry["reason"]) for entry in evidence.get("deviations", ())]
    message = "; ".join(reasons) or str(evidence.get("message", ""))
    child = ElementTree.SubElement(case, tag, message=one_line(f"{row['verdict']}: {message}".rstrip(": "), 300))
    if tag != "skipped":
        child.set("type", row["verdict"])
        child.text = visible(shorten(str(evidence.get("reproducer") or message), _LIMIT))
