"""`conv1d-cts report DIR`: the certificates of a folder become the pages that people, CI and badges read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conv1d_cts.reports import badges
from conv1d_cts.reports.certificate import Certificate, load_folder
from conv1d_cts.reports.junit import junit
from conv1d_cts.reports.merging import contradictions, merged
from conv1d_cts.reports.page import page
from conv1d_cts.reports.summary import summary
from conv1d_cts.spec.clauses import clauses, prose


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written, what it was made from, and one line for each file that could not be read, and contradiction."""

    index: Path
    summary: Path
    junit: Path
    badges: tuple[Path, ...]
    certificates: tuple[Certificate, ...]
    broken: tuple[str, ...]
    contradictions: tuple[str, ...]


def write_report(folder: Path) -> ReportPaths:
    """Write index.html, summary.md, junit.xml and badges/ beside the certificates. Raises OSError."""
    read, broken = load_folder(folder)
    found, differing = merged(read), contradictions(read)
    certificates, spec = tuple(found.values()), clauses()
    paths = ReportPaths(
        folder / "index.html",
        folder / "summary.md",
        folder / "junit.xml",
        tuple(_badges(folder / "badges", found)),
        certificates,
        tuple(broken),
        tuple(differing),
    )
    paths.index.write_text(page(certificates, broken, spec, prose(), differing), encoding="utf-8", newline="\n")
    paths.summary.write_text(summary(certificates, broken, spec, differing), encoding="utf-8", newline="\n")
    paths.junit.write_bytes(junit(certificates, spec))
    return paths


def _badges(folder: Path, certificates: Mapping[str, Certificate]) -> list[Path]:
    """Badges have a folder of their own: a badge's JSON is no certificate."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, certificate in certificates.items():
        for suffix, text in ((".svg", badges.svg(certificate)), (".json", badges.endpoint(certificate))):
            path = folder / f"{name}{suffix}"
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(path)
    return written
