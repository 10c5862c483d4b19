"""The clauses and their parser: ids, levels, order, and what a malformed chapter does."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from conv1d_cts.spec.clauses import LEVELS, clauses, parse

CHAPTERS = {
    "OP": 11,
    "SHAPE": 9,
    "PAD": 14,
    "GRAD": 17,
    "ACC": 8,
    "VAL": 9,
    "ERR": 14,
    "INV": 22,
    "EX": 13,
    "CONF": 2,
    "ARITH": 2,
}
SHOULD = {"ACC-4", "ACC-5", "INV-4"}
REPORT = {"OP-11", "GRAD-14", "ACC-7", "VAL-6", "VAL-8", "INV-18", "INV-20", "ARITH-1"}


def test_every_chapter_numbers_its_clauses_without_gaps() -> None:
    assert list(clauses()) == [f"{chapter}-{i}" for chapter, count in CHAPTERS.items() for i in range(1, count + 1)]


def test_levels() -> None:
    levels = {id_: clause.level for id_, clause in clauses().items()}
    assert {id_ for id_, level in levels.items() if level == "SHOULD"} == SHOULD
    assert {id_ for id_, level in levels.items() if level == "REPORT"} == REPORT
    assert set(levels.values()) == set(LEVELS)


@pytest.mark.parametrize("id_", list(clauses()))
def test_a_clause_is_a_statement_of_one_paragraph_first(id_: str) -> None:
    clause = clauses()[id_]
    first = clause.text.split("\n")[0]
    assert first
    assert first[-1] in ".:"
    assert clause.text.count("```") % 2 == 0, "a line that looks like a heading cut the text in a code block"


def test_every_heading_that_looks_like_a_clause_is_one() -> None:
    for chapter in resources.files("conv1d_cts.spec").iterdir():
        if chapter.name.endswith(".md"):
            text = chapter.read_text(encoding="utf-8")
            assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, chapter.name
            assert len(re.findall(r"^#{3,} ", text, re.MULTILINE)) == len(parse(text, chapter.name)), chapter.name


def test_every_chapter_has_semantics_and_a_worked_example() -> None:
    for chapter in resources.files("conv1d_cts.spec").iterdir():
        if re.match(r"\d\d-", chapter.name):
            assert "\n## Worked example\n" in chapter.read_text(encoding="utf-8"), chapter.name


def test_every_clause_id_cited_in_the_spec_exists() -> None:
    for chapter in resources.files("conv1d_cts.spec").iterdir():
        if chapter.name.endswith(".md"):
            cited = re.findall(rf"\b(?:{'|'.join(CHAPTERS)})-\d+\b", chapter.read_text(encoding="utf-8"))
            assert set(cited) <= set(clauses()), chapter.name


def test_parse_cuts_a_clause_at_the_next_heading() -> None:
    text = "# T\nintro\n### A-1 (MUST) One\nfirst.\n\nmore\n## Part\nno\n### A-2 (REPORT) Two words\nsecond.\n"
    one, two = parse(text, "t.md")
    assert (one.id, one.level, one.title, one.text, one.chapter) == ("A-1", "MUST", "One", "first.\n\nmore", "T")
    assert (two.id, two.level, two.title, two.text) == ("A-2", "REPORT", "Two words", "second.")


def test_parse_refuses_an_unknown_level() -> None:
    with pytest.raises(ValueError, match="A-1 has the unknown level 'MAY'"):
        parse("# T\n### A-1 (MAY) One\ntext\n", "t.md")


def test_parse_refuses_a_chapter_without_title() -> None:
    with pytest.raises(ValueError, match=r"t\.md: no chapter title"):
        parse("### A-1 (MUST) One\ntext\n", "t.md")


def test_an_id_defined_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("01-a.md", "02-b.md"):
        (tmp_path / name).write_text("# T\n### A-1 (MUST) One\ntext.\n", encoding="utf-8")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"02-b\.md: A-1 is defined twice"):
        clauses.__wrapped__()
