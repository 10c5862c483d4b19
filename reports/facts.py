"""What follows from a certificate: how often each verdict stands on it, and its findings, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from conv1d_cts.conformance.arithmetic.classes import ORDER as CLASSES
from conv1d_cts.reports.certificate import ArithmeticRow, Certificate, ClauseRow
from conv1d_cts.reports.text import one_line, slug

VERDICTS: Final = (
    "pass", "fail", "crash", "hang", "exit", "deviation", "refused", "unsupported", "vacuous", "error", "not run",
)  # fmt: skip
FAILED: Final = ("fail", "crash", "hang", "exit")
CERTIFIED: Final = ("conformant", "conformant with deviations")
SEVERITY: Final = ("crash", "hang", "exit", "fail", "error", "stale", "warning", "deviation")
TIGHT: Final = ("exact", "ieee", "ieee-fp32-accumulate")  # classes of arithmetic that need no word of warning
PLAIN: Final[Mapping[str, Any]] = {
    "stride": 1, "dilation": 1, "groups": 1, "padding": [0, 0], "padding_mode": "zeros", "padding_value": 0,
    "layout": "contiguous", "bias": True, "recipe": "lattice", "seed": 0,
}  # fmt: skip
_FIELDS: Final = ("n", "c_in", "c_out", "length", "kernel", *PLAIN, "dtype")
_MEANT: Final = "by design"  # says the reason of a deviation that its framework stands by
_STALE: Final = "stale deviation"
_LINE: Final = 160


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a reader must know about a backend; `kind` is an entry of SEVERITY, `text` one plain line."""

    kind: str
    clause: str
    surface: str
    text: str

    @property
    def line(self) -> str:
        """The finding as one plain line: kind, clause, surface, what happened."""
        name = "fail (SHOULD)" if self.kind == "warning" else self.kind
        where = f"{name}: {self.clause} on {one_line(self.surface, 40)}"
        return f"{where}: {self.text}" if self.text else where


def counts(certificate: Certificate) -> dict[str, int]:
    """How many rows (clause x surface) have each verdict; every verdict is a key."""
    tally = Counter(row["verdict"] for row in certificate["clauses"])
    return {verdict: tally[verdict] for verdict in VERDICTS}


def failed(certificate: Certificate) -> int:
    """How many rows ended in fail, crash, hang or exit, at any level."""
    return sum(counts(certificate)[verdict] for verdict in FAILED)


def warnings(certificate: Certificate) -> int:
    """How many of the failed rows are SHOULD: they are reported and deny nothing."""
    return sum(row["level"] == "SHOULD" and row["verdict"] in FAILED for row in certificate["clauses"])


def findings(certificate: Certificate) -> list[Finding]:
    """Every failure, error and deviation, the worst first; rows of one severity keep the certificate's order."""
    found = [(_gravity(row), finding) for row in certificate["clauses"] if (finding := _finding(row)) is not None]
    return [finding for _, finding in sorted(found, key=lambda one: (SEVERITY.index(one[1].kind), one[0]))]


def _gravity(row: ClauseRow) -> tuple[bool, bool, int]:
    """Of recorded deviations: faults before what is by design, those of a MUST first, deaths before wrong values."""
    entries = row["evidence"].get("deviations", ())
    ranks = [(_MEANT in str(entry["reason"]).lower(), _rank(entry)) for entry in entries]
    meant, kind = min(ranks, default=(False, 0))
    return meant, row["level"] != "MUST", kind


def _rank(entry: Mapping[str, Any]) -> int:
    """The place of a deviation's kind in SEVERITY; after all of them where it is none."""
    return SEVERITY.index(entry["kind"]) if entry["kind"] in SEVERITY else len(SEVERITY)


def worst(certificate: Certificate) -> Finding | None:
    """The gravest finding, or None where there is nothing to tell."""
    return next(iter(findings(certificate)), None)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The worst error of a clause on any surface: as a share of its bound, in units in the last place, and where."""

    clause: str
    surface: str
    of_bound: float
    ulps: float
    at: str
    power: str


def accuracies(certificate: Certificate) -> list[Accuracy]:
    """For each clause judged by bounds, the surface that came nearest to one; in the certificate's order."""
    found: dict[str, Accuracy] = {}
    for row in certificate["clauses"]:
        measured = row["evidence"].get("accuracy")
        if measured and (row["id"] not in found or measured["of_bound"] > found[row["id"]].of_bound):
            place = row["id"], one_line(row["surface"], 40)
            numbers = measured["of_bound"], measured["ulps"]
            found[row["id"]] = Accuracy(*place, *numbers, one_line(measured["at"], 60), power(measured))
    return list(found.values())


def power(measured: Mapping[str, Any]) -> str:
    """The smallest error, relative to the exact value, that the run could not have missed: "float32 1.2e-07"."""
    return ", ".join(f"{one_line(dtype, 20)} {least:.2g}" for dtype, least in sorted(measured["power"].items()))


def arithmetic(certificate: Certificate) -> list[str]:
    """One line a sentence on the arithmetic, with surfaces and switch: of the looser classes alone, worst first."""
    rows = [row for row in certificate["arithmetic"] if row["class"] not in TIGHT]
    sentences = dict.fromkeys(row["text"] for row in sorted(rows, key=looseness, reverse=True))
    return [one_line(_told(text, [row for row in rows if row["text"] == text], certificate), 400) for text in sentences]


def looseness(row: ArithmeticRow) -> int:
    """The place of a row's class among the classes, the tightest first; what is in no class comes before all."""
    return CLASSES.index(row["class"]) if row["class"] in CLASSES else -1


def _told(text: str, rows: list[ArithmeticRow], certificate: Certificate) -> str:
    surfaces = [row["surface"] for row in rows]
    where = "" if set(surfaces) >= set(certificate["backend"]["surfaces"]) else f" (on {', '.join(surfaces)})"
    switch = rows[0].get("switch", "")
    return f"{text}{where}" + (f". Changed by {switch}" if switch else "")


def classes(certificate: Certificate) -> dict[str, list[str]]:
    """The dtypes of each class of arithmetic, the tightest first; a dtype counts as the loosest of its surfaces."""
    loosest: dict[str, str] = {}
    for row in sorted(certificate["arithmetic"], key=looseness):
        loosest[row["dtype"]] = row["class"]
    order = dict.fromkeys(row["dtype"] for row in certificate["arithmetic"])
    found = {name: [dtype for dtype in order if loosest[dtype] == name] for name in (*CLASSES, "unknown")}
    return {name: dtypes for name, dtypes in found.items() if dtypes}


def dtypes(row: ClauseRow) -> list[str]:
    """The dtypes that the evidence of a row speaks of: those of its cases, and those that its bounds judged."""
    evidence = row["evidence"]
    told = (evidence, *evidence.get("further", ()), *evidence.get("deviations", ()))
    cases = [entry.get("case", {}) for entry in told]
    found = {slug(str(case["dtype"])) for case in cases if "dtype" in case}
    return sorted(found | {slug(dtype) for dtype in evidence.get("accuracy", {}).get("power", {})})


def version(certificate: Certificate) -> str:
    """The version of the package the backend is named after, else all of them: "2.13.0", "cupy 13.4, cuda 12.6"."""
    versions = certificate["backend"]["versions"]
    own = versions.get(certificate["backend"]["name"])
    return own or ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) or "unknown"


def device(certificate: Certificate) -> str:
    """The device with what is known of it: "cuda:0 (GPU NVIDIA H100, driver 550.54.14)"."""
    backend = certificate["backend"]
    told = ", ".join(f"{name} {fact}" for name, fact in sorted(backend.get("device_facts", {}).items()))
    return one_line(f"{backend['device']} ({told})" if told else backend["device"], 300)


def how(certificate: Certificate, evidence: Mapping[str, Any]) -> list[str]:
    """Of a reproducer: the command, what came of it before publication, versions and platform; one line each."""
    backend, run = certificate["backend"], certificate["run"]
    came = {
        "True": "; run before this was published, it exited with 1",
        "False": "; RUN BEFORE THIS WAS PUBLISHED, IT DID NOT REPRODUCE THE FAULT",
    }.get(str(evidence.get("reproduces")), "")
    versions = ", ".join(f"{name} {number}" for name, number in sorted(backend["versions"].items()))
    return [
        f"python reproducer.py exits with 1 while the fault is there and with 0 when it is gone{came}",
        one_line(f"{versions} on {device(certificate)}", 300),
        one_line(f"Python {run.get('python', 'unknown')}, {run.get('platform', 'unknown platform')}", 300),
    ]


def cut_short(certificate: Certificate) -> bool:
    """Whether the run began and did not come to its end."""
    return not certificate["suite"]["complete"] and certificate["verdict"] != "error"


def fuzzing(certificate: Certificate) -> str:
    """What was tried beside the cases of the seed, in one line; empty where nothing was."""
    if "fuzzing" not in certificate:
        return ""
    more = certificate["fuzzing"]
    tried = f"{more['examples']:,} examples beside those of the seed"
    return f"fuzzed for {more['seconds'] / 60:.1f} minutes, {tried}: {len(more['failures']) or 'nothing'} more failed"


def case_line(case: Mapping[str, Any]) -> str:
    """A case on one line, but for what is as plain as can be: `n=1  c_in=2  length=7  kernel=3`."""
    order = sorted(case, key=lambda key: (_FIELDS.index(key) if key in _FIELDS else len(_FIELDS), key))
    return "  ".join(f"{key}={case[key]}" for key in order if PLAIN.get(key) != case[key])


def _finding(row: ClauseRow) -> Finding | None:
    kind = _kind(row)
    return None if kind is None else Finding(kind, row["id"], row["surface"], one_line(_text(row), _LINE))


def _kind(row: ClauseRow) -> str | None:
    verdict = row["verdict"]
    if verdict == "fail" and str(row["evidence"].get("message", "")).startswith(_STALE):
        return "stale"
    if verdict == "fail" and row["level"] != "MUST":
        return "warning"
    return verdict if verdict in SEVERITY else None


def _text(row: ClauseRow) -> str:
    evidence = row["evidence"]
    if row["verdict"] == "deviation":
        entries = sorted(evidence.get("deviations", ()), key=_rank)
        return "; ".join(dict.fromkeys(str(entry["reason"]) for entry in entries))
    return str(evidence.get("message", ""))
