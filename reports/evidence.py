"""What a row of a certificate shows for its verdict, as labelled blocks of text; each recorded deviation once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.text import SCRIPT, one_line, shorten, visible

_LIMIT: Final = 3000
_REASON: Final = 60  # of a recorded deviation, where a link leads to all of it
_SHOWN: Final = (
    "accuracy", "message", "finding", "expected", "got", "confirmed", "history", "reproducer", "case",
    "deviations", "reproduces", "no reproducer", "further",
)  # fmt: skip
_EXAMPLE: Final = {"message": "prose", "case": "case"}
_FINDING: Final = {
    "finding": "prose", "message": "prose", "case": "case", "expected": "code", "got": "code",
    "confirmed": "prose", "history": "code", "no reproducer": "prose",
}  # fmt: skip
_SAME: Final = ("reason", "when", "link", "reproducer")  # what an entry says of itself, whatever clause it stands at


@dataclass(frozen=True, slots=True)
class Block:
    """A labelled piece of evidence; `kind` is prose, code or script, and `anchor` where it is told in full."""

    label: str
    text: str
    kind: str
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded deviation of a backend, wherever it was met: its own words, and one case on which it shows.

    `first` is the first surface of each clause on which it was met. How its script is run is the same for every one of
    a backend: `facts.how`.
    """

    anchor: str
    reason: str
    places: str
    example: tuple[Block, ...]
    blocks: tuple[Block, ...]
    links: tuple[str, ...]
    first: Mapping[str, str]


def recorded(certificate: Certificate, name: str) -> dict[tuple[str, ...], Recorded]:
    """Every deviation that was met, in the certificate's order; `name` begins their anchors, which no slug can be."""
    met: dict[tuple[str, ...], list[tuple[ClauseRow, Mapping[str, Any]]]] = {}
    for row in certificate["clauses"]:
        for entry in row["evidence"].get("deviations", ()):
            met.setdefault(_identity(entry), []).append((row, entry))
    return {
        identity: _recorded(certificate, f"{name}:deviation-{number}", places)
        for number, (identity, places) in enumerate(met.items(), start=1)
    }


def _identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in _SAME)


def _recorded(certificate: Certificate, anchor: str, met: Sequence[tuple[ClauseRow, Mapping[str, Any]]]) -> Recorded:
    entry, link = met[0][1], str(met[0][1]["link"])
    clauses = ", ".join(dict.fromkeys(row["id"] for row, _ in met))
    surfaces = ", ".join(dict.fromkeys(one_line(row["surface"], 40) for row, _ in met))
    script = visible(shorten(str(entry["reproducer"]), SCRIPT))
    return Recorded(
        anchor=anchor,
        reason=_text(str(entry["reason"])),
        places=f"{clauses} on {surfaces}",
        example=tuple(_labelled(entry, _EXAMPLE)),
        blocks=(*_labelled(entry, {"when": "code"}), Block("reproducer", script, "script")),
        links=(link,) if link.startswith("https://") else (),
        first={row["id"]: row["surface"] for row, _ in reversed(met)},
    )


def blocks(certificate: Certificate, row: ClauseRow, deviations: Mapping[tuple[str, ...], Recorded]) -> Iterable[Block]:
    """The evidence of a row, in the order in which one reads it.

    The example of a deviation is told where it is another one than the deviation's own, once for each clause.
    """
    evidence, met = row["evidence"], Counter[str]()
    for entry in evidence.get("deviations", ()):  # one for each check of the clause that met it
        met[deviations[_identity(entry)].anchor] += entry["examples"]
    for entry in evidence.get("deviations", ()):
        deviation = deviations[_identity(entry)]
        if examples := met.pop(deviation.anchor, 0):
            said = f"{one_line(str(entry['reason']), _REASON)} ({examples:,} examples)"
            yield Block("recorded", said, "prose", deviation.anchor)
            told = tuple(_labelled(entry, _EXAMPLE))
            if told != deviation.example and deviation.first[row["id"]] == row["surface"]:
                yield from told
    yield from _labelled(evidence, _FINDING)
    yield from _reproducer(certificate, evidence)
    for further in evidence.get("further", ()):
        yield Block("another check", _text(str(further["verdict"])), "prose")
        yield from _labelled(further, _FINDING)
        yield from _script(further)
    if "accuracy" in evidence:
        yield from _accuracy(evidence["accuracy"])
    for key in sorted(set(evidence) - set(_SHOWN)):
        yield Block(one_line(key, 40), _text(json.dumps(evidence[key])), "prose")


def _reproducer(certificate: Certificate, evidence: Mapping[str, Any]) -> Iterable[Block]:
    """The script, what became of it, and with which versions."""
    for script in _script(evidence):
        yield script
        yield Block("run as", "\n".join(facts.how(certificate, evidence)), "prose")


def _script(evidence: Mapping[str, Any]) -> Iterable[Block]:
    if evidence.get("reproducer"):
        yield Block("reproducer", visible(shorten(str(evidence["reproducer"]), SCRIPT)), "script")


def _accuracy(measured: Mapping[str, Any]) -> Iterable[Block]:
    worst = f"{measured['of_bound']:.3g} of its bound, {measured['ulps']:.3g} ulp, in {measured['at']}"
    seen = f"surely seen from: {facts.power(measured) or 'none'}"
    yield Block("worst error", _text("\n".join((worst, facts.case_line(measured["case"]), seen))), "prose")


def _labelled(evidence: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterable[Block]:
    for label, kind in kinds.items():
        value = evidence.get(label)
        if not value:
            continue
        if isinstance(value, dict):
            value, kind = facts.case_line(value), "code"
        yield Block("shrunk case" if label == "case" else label, _text(str(value)), kind)


def _text(text: str) -> str:
    return visible(shorten(text, _LIMIT))
