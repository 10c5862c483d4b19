"""What a change of version did to a backend, clause by clause (`conv1d-cts diff OLD.json NEW.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.text import markdown, one_line

ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class Change:
    """One clause on one surface whose verdict or finding is not what it was; a row that is missing is "absent"."""

    clause: str
    surface: str
    old: str
    new: str
    note: str


@dataclass(frozen=True, slots=True)
class Diff:
    """`gained`: passes now and did not; `lost`: passed and does not; `changed`: anything else that differs."""

    old: str
    new: str
    old_verdict: str
    new_verdict: str
    gained: tuple[Change, ...]
    lost: tuple[Change, ...]
    changed: tuple[Change, ...]

    @property
    def sections(self) -> list[tuple[str, tuple[Change, ...]]]:
        """What there is of losses, changes and gains: losses first, for they are why one looks."""
        named = (("Lost", self.lost), ("Changed", self.changed), ("Gained", self.gained))
        return [(title, changes) for title, changes in named if changes]

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, two spaces, one newline at the end."""
        return json.dumps(asdict(self), sort_keys=True, indent=2) + "\n"

    def to_markdown(self) -> str:
        """A page for a pull request."""
        head = f"# {markdown(self.old)} → {markdown(self.new)}"
        verdict = f"Verdict: {self.old_verdict} → **{self.new_verdict}**"
        body = [line for title, changes in self.sections for line in _section(title, changes)]
        return "\n".join([head, "", verdict, "", *(body or ["No clause changed.", ""])])


def diff(old: Certificate, new: Certificate) -> Diff:
    """Compare two certificates row by row, in the order of the new one; rows that only the old one has come last."""
    before, after = _rows(old), _rows(new)
    sorted_changes: dict[str, list[Change]] = {"gained": [], "lost": [], "changed": []}
    for key in [*after, *(key for key in before if key not in after)]:
        change = _change(key, before.get(key), after.get(key))
        if change is not None:
            sorted_changes[_direction(change)].append(change)
    gained, lost, changed = map(tuple, sorted_changes.values())
    return Diff(_name(old), _name(new), old["verdict"], new["verdict"], gained, lost, changed)


def _rows(certificate: Certificate) -> dict[tuple[str, str], ClauseRow]:
    return {(row["id"], row["surface"]): row for row in certificate["clauses"]}


def _change(key: tuple[str, str], old: ClauseRow | None, new: ClauseRow | None) -> Change | None:
    before, after = (row["verdict"] if row else ABSENT for row in (old, new))
    note_before, note_after = _note(old), _note(new)
    if before == after and note_before == note_after:
        return None
    note = note_after if before != after else f"was: {note_before or 'nothing'}; is: {note_after or 'nothing'}"
    return Change(*key, before, after, note)


def _note(row: ClauseRow | None) -> str:
    """What a reader compares: the finding, or the reasons of the deviations; a fail's message varies with its case."""
    if row is None:
        return ""
    reasons = "; ".join(sorted(str(entry["reason"]) for entry in row["evidence"].get("deviations", ())))
    return one_line(reasons or str(row["evidence"].get("finding", "")), 200)


def _direction(change: Change) -> str:
    if change.old == change.new or "pass" not in (change.old, change.new):
        return "changed"
    return "gained" if change.new == "pass" else "lost"


def _name(certificate: Certificate) -> str:
    backend = certificate["backend"]
    return one_line(f"{backend['name']} {facts.version(certificate)} on {backend['device']}", 120)


def _section(title: str, changes: tuple[Change, ...]) -> Iterator[str]:
    yield from (
        f"## {title} ({len(changes)})",
        "",
        "| clause | surface | was | is | |",
        "| --- | --- | --- | --- | --- |",
    )
    for change in changes:
        cells = (change.clause, change.surface, change.old, change.new, change.note)
        yield f"| {' | '.join(map(markdown, cells))} |"
    yield ""
