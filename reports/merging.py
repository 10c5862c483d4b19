"""Certificates of one backend, from several machines or parts of a run: made one; and where they contradict each other.

They are made one where backend, versions, device, what is known of the device, and the suite's version are the same.
Each row is the worst that was judged. Certificates that differ in what is known of the device alone, such as the
processor, stand side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any, TypeVar, cast

from conv1d_cts.conformance.ledger import FAILURES, VERDICTS, overall
from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, ClauseRow
from conv1d_cts.reports.text import one_line

_HELD = ("pass", "deviation")
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def merged(found: Mapping[str, Certificate]) -> dict[str, Certificate]:
    """The certificates by file stem, each group of them under the stem of its first."""
    groups = _grouped(found, lambda stem: _whole(found[stem]))
    return {stems[0]: _one([found[stem] for stem in stems], stems) for stems in groups}


def contradictions(found: Mapping[str, Certificate]) -> list[str]:
    """A line for each two certificates of one backend on one device that cannot both be the whole truth."""
    groups = _grouped(found, lambda stem: _backend(found[stem]))
    pairs = chain.from_iterable(combinations(stems, 2) for stems in groups)
    return [line for a, b in pairs for line in _contradicting((a, found[a]), (b, found[b]))]


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> list[list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _backend(certificate: Certificate) -> tuple[Hashable, ...]:
    own = certificate["backend"]
    return own["name"], frozenset(own["versions"].items()), own["device"]


def _whole(certificate: Certificate) -> tuple[Hashable, ...]:
    known = frozenset(certificate["backend"].get("device_facts", {}).items())
    return *_backend(certificate), known, certificate["suite"]["version"]


def _contradicting(first: tuple[str, Certificate], second: tuple[str, Certificate]) -> Iterator[str]:
    """Rows that hold in one and fail in the other, and dtypes of another arithmetic."""
    names, both = [one_line(stem, 60) for stem, _ in (first, second)], (first[1], second[1])
    title = one_line(f"{both[0]['backend']['name']} on {both[0]['backend']['device']}", 80)
    cases = "the same cases" if _same_cases(*both) else "other cases"
    rows = [{(row["id"], row["surface"]): row["verdict"] for row in one["clauses"]} for one in both]
    for place in [place for place in rows[0] if place in rows[1]]:
        told = [one[place] for one in rows]
        if any(x in FAILURES and y in _HELD for x, y in (told, reversed(told))):
            said = ", ".join(f"{verdict} in {name}" for verdict, name in zip(told, names, strict=True))
            yield one_line(f"{title}: {place[0]} on {place[1]}: {said} ({cases})", 300)
    classes = [{(row["surface"], row["dtype"]): row["class"] for row in one["arithmetic"]} for one in both]
    for place in [place for place in classes[0] if classes[1].get(place, classes[0][place]) != classes[0][place]]:
        said = ", ".join(f"{one[place]} in {name}" for one, name in zip(classes, names, strict=True))
        yield one_line(f"{title}: arithmetic of {place[1]} on {place[0]}: {said}", 300)


def _same_cases(first: Certificate, second: Certificate) -> bool:
    """Whether both were tried on the cases of one seed, and on no others."""
    seeds = {(one["suite"]["profile"], one["suite"]["seed"]) for one in (first, second)}
    return len(seeds) == 1 and not any("fuzzing" in one for one in (first, second))


def _one(parts: Sequence[Certificate], stems: Sequence[str]) -> Certificate:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    rows = _rows(parts)
    arithmetic = _grouped(
        [row for part in parts for row in part["arithmetic"]], lambda row: (row["surface"], row["dtype"])
    )
    limits = _grouped([row for part in parts for row in part["limits"]], lambda row: (row.get("surface"), row["when"]))
    complete = all(row["verdict"] != "not run" for row in rows)
    one = {
        **first,
        "suite": {**first["suite"], "complete": complete},
        "backend": {**first["backend"], "surfaces": _surfaces(parts)},
        "verdict": overall(cast(list[dict[str, Any]], rows), complete),
        "clauses": rows,
        "arithmetic": [max(found, key=facts.looseness) for found in arithmetic],
        "limits": [found[0] for found in limits],
        "run": {**first["run"], **_times(parts), "merged": ", ".join(stems)},
        **_fuzzing(parts),
    }
    return cast(Certificate, one)


def _surfaces(parts: Iterable[Certificate]) -> list[str]:
    return list(dict.fromkeys(surface for part in parts for surface in part["backend"]["surfaces"]))


def _rows(parts: Sequence[Certificate]) -> list[ClauseRow]:
    """Of each clause on each surface the worst that was judged; an error judges nothing, where another did."""
    found = _grouped([row for part in parts for row in part["clauses"]], lambda row: (row["id"], row["surface"]))
    ids = list(dict.fromkeys(row["id"] for part in parts for row in part["clauses"]))
    surfaces = [*_surfaces(parts), *(rows[0]["surface"] for rows in found)]
    chosen = [min([row for row in rows if _judged(row)] or rows, key=_rank) for rows in found]
    return sorted(chosen, key=lambda row: (ids.index(row["id"]), surfaces.index(row["surface"])))


def _judged(row: ClauseRow) -> bool:
    return row["verdict"] not in ("error", "not run")


def _rank(row: ClauseRow) -> int:
    return VERDICTS.index(row["verdict"])


def _times(parts: Iterable[Certificate]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update({name: part["run"][name] for name in ("seconds", "backend_seconds") if name in part["run"]})
    return {name: round(seconds, 1) for name, seconds in total.items()}


def _fuzzing(parts: Iterable[Certificate]) -> dict[str, Any]:
    """What all of them were fuzzed; nothing where none was."""
    found = [part["fuzzing"] for part in parts if "fuzzing" in part]
    if not found:
        return {}
    failures = {(one["id"], one["surface"]): one for more in found for one in more["failures"]}
    return {
        "fuzzing": {
            "seconds": round(sum(more["seconds"] for more in found), 1),
            "examples": sum(more["examples"] for more in found),
            "failures": list(failures.values()),
        }
    }
