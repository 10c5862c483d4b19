"""The first screen of README.md says what the published certificates say."""

from __future__ import annotations

from pathlib import Path

from conv1d_cts.reports import counts, load, worst
from conv1d_cts.reports.facts import version

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = sorted((ROOT / "reports" / "published").glob("*-cpu/*.json"))


def test_its_table_is_that_of_the_published_run() -> None:
    assert PUBLISHED
    for certificate in map(load, PUBLISHED):
        finding, tally = worst(certificate), counts(certificate)
        said = finding.line.partition(": ")[0] + f": {finding.clause} on {finding.surface}" if finding else "none"
        cells = [certificate["backend"]["name"], version(certificate), certificate["verdict"]]
        cells += [str(tally["pass"]), str(tally["deviation"]), said]
        assert f"| {' | '.join(cells)} |" in README


def test_its_pictures_are_there_and_small() -> None:
    for name in ("page", "page-dark"):
        picture = ROOT / "reports" / "published" / f"{name}.png"
        assert f"reports/published/{name}.png" in README
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 250_000
