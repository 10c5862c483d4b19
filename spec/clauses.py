"""The clauses, parsed from the Markdown chapters beside this file: their only source (chapter CONF).

A clause is a heading `### SHAPE-2 (MUST) Output length` and the text up to the next heading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

LEVELS = ("MUST", "SHOULD", "REPORT")
_HEADING = re.compile(r"^### (?P<id>[A-Z]+-\d+) \((?P<level>[A-Z]+)\) (?P<title>.+)$", re.MULTILINE)
_NEXT_HEADING = re.compile(r"^#{1,3} ", re.MULTILINE)
_CHAPTER_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_CLAUSES = re.compile(r"^## Clauses$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered, testable sentence of the spec."""

    id: str
    level: str
    title: str
    text: str
    chapter: str


def parse(markdown: str, source: str) -> tuple[Clause, ...]:
    """The clauses of one chapter, in order. Raises ValueError for an unknown level or a missing chapter title."""
    chapter = _CHAPTER_TITLE.search(markdown)
    if chapter is None:
        raise ValueError(f"{source}: no chapter title")
    found = []
    for heading in _HEADING.finditer(markdown):
        if heading["level"] not in LEVELS:
            raise ValueError(f"{source}: {heading['id']} has the unknown level {heading['level']!r}")
        end = _NEXT_HEADING.search(markdown, heading.end())
        text = markdown[heading.end() : end.start() if end else None].strip()
        found.append(Clause(heading["id"], heading["level"], heading["title"].strip(), text, chapter[1]))
    return tuple(found)


def _chapters() -> dict[str, str]:
    """The text of each chapter by the name of its file, in order."""
    files = [f for f in resources.files("conv1d_cts.spec").iterdir() if f.name.endswith(".md")]
    return {f.name: f.read_text(encoding="utf-8") for f in sorted(files, key=lambda f: f.name)}


@cache
def prose() -> dict[str, str]:
    """What each chapter says before its clauses, as Markdown, by its title."""
    found = {}
    for markdown in _chapters().values():
        title, end = _CHAPTER_TITLE.search(markdown), _CLAUSES.search(markdown)
        if title and end:
            found[title[1]] = markdown[title.end() : end.start()].strip()
    return found


@cache
def clauses() -> dict[str, Clause]:
    """Every clause of the spec by its id, in the order of the chapters. Raises ValueError for an id used twice."""
    by_id: dict[str, Clause] = {}
    for name, markdown in _chapters().items():
        for clause in parse(markdown, name):
            if clause.id in by_id:
                raise ValueError(f"{name}: {clause.id} is defined twice")
            by_id[clause.id] = clause
    return by_id
