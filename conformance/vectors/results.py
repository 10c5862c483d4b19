"""Results computed elsewhere against the vectors, by the judge of the certification (conformance/judge.py)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.vectors.corpus import FILE, SCHEMA
from conv1d_cts.conformance.vectors.numbers import from_json, in_dtype
from conv1d_cts.spec.clauses import clauses

_FUNCTIONS = {"y": "conv1d", "gradients": "vjp"}  # as conditions call what a part of a vector is computed by


@dataclass
class Row:
    """What came of one clause: how many vectors came out how, and the first that failed."""

    clause: str
    counts: Counter[str] = field(default_factory=Counter)
    failure: str = ""

    @property
    def verdict(self) -> str:
        """The verdict of chapter CONF; `not run` where a result is missing."""
        order = ("fail", "not run", "pass", "refused", "unsupported")
        return next(verdict for verdict in order if self.counts[verdict])


@dataclass(frozen=True)
class Results:
    """A file of results: arrays by vector and name, and what is declared not to be done."""

    arrays: Mapping[str, Mapping[str, Any]]
    limits: tuple[Condition, ...]


def read_vectors(folder: Path) -> list[dict[str, Any]]:
    """The vectors of a folder. Raises ValueError where there are none of this schema, OSError."""
    whole = _json(folder / FILE)
    if whole.get("schema") != SCHEMA:
        raise ValueError(f"{folder / FILE} has schema {whole.get('schema')!r}, not {SCHEMA}")
    vectors: list[dict[str, Any]] = whole["vectors"]
    return vectors


def read_results(path: Path, vectors: list[dict[str, Any]]) -> Results:
    """The results of a file. Raises ValueError for what is not of the format, OSError."""
    whole = _json(path)
    unknown = set(whole) - {"backend", "limits", "results"}
    arrays = whole.get("results")
    if unknown or not isinstance(arrays, dict) or not all(isinstance(a, dict) for a in arrays.values()):
        raise ValueError(f"{path} is no object of backend, limits and results, each result an object")
    strangers = set(arrays) - {vector["id"] for vector in vectors}
    if strangers:
        raise ValueError(f"{path}: no vector {min(strangers)!r}")
    return Results(arrays, tuple(map(Condition, whole.get("limits", {}))))


def _json(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(whole, dict):
        raise ValueError(f"{path}: not a JSON object")
    return whole


def judged(vectors: list[dict[str, Any]], results: Results) -> list[Row]:
    """A row for each clause that a vector tries, in the order of the spec. Raises ValueError for what is no array."""
    rows: dict[str, Row] = {}
    for vector in vectors:
        for part, ids in vector["clauses"].items():
            verdict, message = _outcome(vector, part, results)
            for clause in ids:
                row = rows.setdefault(clause, Row(clause))
                row.counts[verdict] += 1
                if verdict == "fail":
                    row.failure = row.failure or f"{vector['id']}: {message}"
    return [rows[clause] for clause in clauses() if clause in rows]


def _outcome(vector: Mapping[str, Any], part: str, results: Results) -> tuple[str, str]:
    """The verdict of one part of a vector, and the message of a failure."""
    given = results.arrays.get(vector["id"], {})
    names = [name for name in vector["expected"] if (name == "y") == (part == "y")]
    answers = {name: given[name] for name in names if name in given}
    refused = bool(answers) and all(isinstance(a, dict) and "refused" in a for a in answers.values())
    if vector["expected"].get(part) == "error":
        return ("pass", "") if refused else ("fail", "silently accepted") if answers else ("not run", "")
    facts = {**vector["facts"], "function": _FUNCTIONS[part]}
    limit = next((condition for condition in results.limits if condition.holds(facts)), None)
    if limit is not None:
        stale = bool(answers) and not refused
        return ("fail", f"{limit.text!r} is a limit; in it a result came") if stale else ("unsupported", "")
    if refused and vector["may_refuse"]:
        return "refused", ""
    if refused:
        return "fail", f"refused a legal call: {next(iter(answers.values()))['refused']}"
    if len(answers) < len(names):
        return "not run", ""
    try:
        for name in names:
            _judge(vector, name, answers[name])
    except Violation as violation:
        return "fail", str(violation)
    return "pass", ""


def _judge(vector: Mapping[str, Any], name: str, answer: Any) -> None:
    """Raise Violation unless the answer has the shape, is of the dtype, and is right: equal, or inside the bound."""
    want = vector["expected"][name]
    got, exact = from_json(answer, f"{vector['id']}: {name}"), from_json(want, name)
    judge.same_shape(got, exact.shape, name)
    narrow = in_dtype(got, vector["facts"]["dtype"], name)
    if "bound" in want:
        bound = from_json({"shape": want["shape"], "data": want["bound"]}, name)
        judge.within(narrow, (exact, bound), name)
    else:
        judge.equal(narrow, exact, name)


def report(rows: list[Row]) -> Iterator[str]:
    """One line a clause, and one for each failure."""
    for row in rows:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(row.counts.items()))
        yield f"{row.clause:9} {row.verdict:12} {counts}"
        if row.failure:
            yield f"          {row.failure}"
