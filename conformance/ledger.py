"""What came of each clause on each surface: counts, the worst thing seen, and the verdict (chapter CONF)."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance.arithmetic.fingerprint import Fingerprint
from conv1d_cts.conformance.interruption import let_through
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.spec.clauses import clauses

# From the worst to the best. The order decides where several checks of one clause differ.
VERDICTS = (
    "error", "crash", "hang", "exit", "fail", "deviation", "vacuous", "refused", "unsupported", "not run", "pass",
)  # fmt: skip
FAILURES = ("crash", "hang", "exit", "fail")
_LINE = 300  # characters of a failure that is told while the run goes on


@dataclass(frozen=True)
class Limit:
    """What a backend declares, or was found, not to do."""

    when: Condition
    reason: str
    found: bool = False


@dataclass
class LimitRecord:
    """How often a limit was met, and a call inside it that was not refused."""

    refused: int = 0
    worked: dict[str, Any] | None = None

    def add(self, other: LimitRecord) -> None:
        """Count in what another check met."""
        self.refused += other.refused
        self.worked = self.worked or other.worked


@dataclass
class Tally:
    """One check on one surface. `failure` is the evidence of an unexpected failure, `kind` its verdict.

    `backend_seconds` are those that the backend's process spent in the adapter and its framework.
    """

    clause: str
    surface: str
    minimum: int
    counts: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    deviating: dict[Deviation, dict[str, Any]] = field(default_factory=dict)
    met: Counter[Deviation] = field(default_factory=Counter)
    limits: dict[Limit, LimitRecord] = field(default_factory=dict)
    kind: str = ""
    failure: dict[str, Any] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    least_accurate: dict[str, Any] = field(default_factory=dict)
    power: dict[str, float] = field(default_factory=dict)
    shares: dict[tuple[str, int], float] = field(default_factory=dict)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    backend_seconds: float = 0.0

    def held(self, finding: str | Accuracy | Fingerprint | None, case: dict[str, Any]) -> None:
        """Count an example that held: what it showed, or how near it came to its bounds. One without any is void."""
        if isinstance(finding, Fingerprint):
            self.fingerprints.append(finding)
            finding = finding.finding
        if finding == UNSEEN:
            self.counts["void"] += 1
            return
        if isinstance(finding, Accuracy):
            self._measure(finding, case)
            self.counts["held" if finding.judged else "void"] += 1
            return
        self.counts["held"] += 1
        if finding:
            self.findings[finding] += 1

    def _measure(self, found: Accuracy, case: dict[str, Any]) -> None:
        if self.accuracy is None or found.of_bound > self.accuracy.of_bound:
            self.accuracy, self.least_accurate = found, case
        dtype = case["dtype"]
        self.power[dtype] = min(found.power, self.power.get(dtype, inf))
        size = dtype, rung(case["c_in"] // case["groups"] * case["kernel"])
        self.shares[size] = max(found.of_bound, self.shares.get(size, 0.0))

    @property
    def verdict(self) -> str:
        """The verdict, as chapter CONF defines it."""
        if self.kind:
            return self.kind
        if self.counts["deviating"]:
            return "deviation"
        if self.counts["held"] >= max(self.minimum, 1):
            return "pass"
        if self.counts["refused"] and not self.counts["held"]:
            return "refused"
        return "unsupported" if self.counts["unsupported"] and not self.counts["held"] else "vacuous"

    def deviates(self, deviation: Deviation, message: str, case: dict[str, Any]) -> None:
        """Count an example that failed as recorded."""
        self.counts["deviating"] += 1
        first = {"message": message, "case": case, "examples": 0}
        self.deviating.setdefault(deviation, first)["examples"] += 1

    def err(self, error: Exception) -> None:
        """The suite itself failed: the clause is not judged. An interruption that the error hides goes on instead."""
        let_through(error)
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        message = f"{type(error).__name__}: {error} ({where})"
        self.kind, self.failure = "error", {"message": message}

    @property
    def line(self) -> str:
        """The unexpected failure in one printable line, told while the run goes on."""
        text = f"{self.kind}: {self.clause} on {self.surface}: {self.failure.get('message', '')}"
        return "".join(c if c.isprintable() else "?" for c in " ".join(text.split())[:_LINE])

    def shown(self, deviation: Deviation) -> int:
        """Examples of which the deviation took the process; 0 for one that is no death."""
        return self.deviating[deviation]["examples"] if deviation.kind != "fail" and deviation in self.deviating else 0

    def judge_stale(self, expected: tuple[Deviation, ...], earlier: Sequence[Tally] = ()) -> None:
        """Fail on entries for this clause and surface of which nothing came: they no longer describe the backend.

        `earlier` are the tallies of the clause's other checks: an entry need show in one of them only.
        """
        tallies = (self, *earlier)
        stale = [d for d in expected if not (d.by_chance or d.inherited) and all(d not in t.deviating for t in tallies)]
        if stale and not any(t.kind for t in tallies):
            self.kind = "fail"
            seen = f"{sum(t.met[stale[0]] for t in tallies)} examples inside its condition, none of which failed"
            self.failure = {"message": f"stale deviation: {stale[0].when.text!r} ({stale[0].reason}): {seen}"}


def _deviation_evidence(tally: Tally) -> list[dict[str, Any]]:
    return [
        {
            "reason": deviation.reason,
            "link": deviation.link,
            "when": deviation.when.text,
            "kind": deviation.kind,
            "reproducer": deviation.reproducer,
            "examples": first["examples"],
            "inside": tally.met[deviation],
            "message": first["message"],
            "case": first["case"],
        }
        for deviation, first in tally.deviating.items()
    ]


def _accuracy_evidence(tallies: Sequence[Tally]) -> dict[str, Any]:
    """The worst error of all checks, also by size, and the smallest that would have been seen; to three digits."""
    measured = [(tally.accuracy, tally.least_accurate) for tally in tallies if tally.accuracy is not None]
    if not measured:
        return {}
    found, case = max(measured, key=lambda pair: pair[0].of_bound)
    dtypes = {dtype for tally in tallies for dtype in tally.power}
    power = {dtype: min(tally.power.get(dtype, inf) for tally in tallies) for dtype in dtypes}
    return {
        "accuracy": {
            "of_bound": _rounded(found.of_bound),
            "ulps": _rounded(found.ulps),
            "at": found.at,
            "case": case,
            "power": {dtype: _rounded(least) for dtype, least in power.items() if isfinite(least)},
            "shares": {dtype: _shares(tallies, dtype) for dtype in dtypes},
        }
    }


def _shares(tallies: Sequence[Tally], dtype: str) -> dict[str, float]:
    """The largest error as a share of its bound, by the products of y: up to 1, 2, 4, 8 ..."""
    sizes = sorted({size for tally in tallies for name, size in tally.shares if name == dtype})
    return {str(size): _rounded(max(t.shares.get((dtype, size), 0.0) for t in tallies)) for size in sizes}


def rung(number: int) -> int:
    """The next power of two; 0 is itself."""
    return number and 1 << max(0, number - 1).bit_length()


def _rounded(number: float) -> float:
    """Three digits: what differs beyond them is the arithmetic of the judge, not of the judged."""
    return float(f"{number:.3g}")


def _further(worst: Tally, tallies: Sequence[Tally]) -> list[dict[str, Any]]:
    """What other checks of the clause failed for, each message once, from the worst: one fault hides no other one."""
    told = {worst.failure.get("message")}
    found = []
    for tally in sorted((t for t in tallies if t.kind), key=lambda t: VERDICTS.index(t.kind)):
        if tally.failure.get("message") not in told:
            told.add(tally.failure.get("message"))
            found.append({"verdict": tally.kind, **tally.failure})
    return found


def row(tallies: list[Tally]) -> dict[str, Any]:
    """The certificate's row of one clause on one surface, from every check of it.

    A clause is refused, or unsupported, where all of its examples are: a check that was refused throughout, or is
    wholly outside the limits, says nothing beside others, and no more does one that found nothing to tell and need not.
    What was left out is in the counts.
    """
    obliged = [t for t in tallies if t.minimum or t.verdict != "vacuous"] or tallies
    answered = [t for t in obliged if t.verdict not in ("refused", "unsupported")] or obliged
    worst = min(answered, key=lambda t: VERDICTS.index(t.verdict))
    counts: Counter[str] = sum((t.counts for t in tallies), Counter())
    findings: Counter[str] = sum((t.findings for t in tallies), Counter())
    evidence: dict[str, Any] = dict(worst.failure)
    if further := _further(worst, tallies):
        evidence["further"] = further
    if findings:
        evidence["finding"] = "; ".join(f"{text} ({n} examples)" for text, n in sorted(findings.items()))
    evidence |= _accuracy_evidence(tallies)
    deviations = [entry for tally in tallies for entry in _deviation_evidence(tally)]
    if deviations:
        evidence["deviations"] = deviations
    return {
        "id": worst.clause,
        "level": clauses()[worst.clause].level,
        "surface": worst.surface,
        "verdict": worst.verdict,
        "examples": {
            "run": sum(counts.values()),
            "telling": counts["held"] + counts["deviating"] + counts["failed"],
            "deviating": counts["deviating"],
            "refused": counts["refused"],
            "unsupported": counts["unsupported"],
        },
        "evidence": evidence,
    }


def overall(rows: list[dict[str, Any]], complete: bool) -> str:
    """The verdict on a backend: a MUST that fails denies certification, a SHOULD does not."""
    verdicts = {r["verdict"] for r in rows if r["level"] == "MUST"}
    if verdicts & set(FAILURES):
        return "nonconformant"
    if "error" in {r["verdict"] for r in rows}:
        return "error"
    if not complete:
        return "partial"
    return "conformant with deviations" if "deviation" in {r["verdict"] for r in rows} else "conformant"
