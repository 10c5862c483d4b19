"""Certificates for the tests of reports/: every verdict, and the strings that a hostile backend would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conv1d_cts.reports.certificate import Certificate, validate
from conv1d_cts.spec.clauses import Clause, parse

CHAPTERS = {
    "OP": "The operator",
    "SHAPE": "Shapes",
    "PAD": "Padding",
    "GRAD": "Gradients",
    "ACC": "Accuracy",
    "VAL": "Special values",
    "ERR": "Errors",
    "INV": "Invariances",
    "EX": "Worked examples",
    "CONF": "Conformance",
}
TITLES = (
    "Value of the operator",
    "Output length where a remainder is left over",
    "Result dtype",
    "Dilation",
    "Empty batch",
)
PROSE = {"Padding": "## Semantics\n\nA pad is *read*, as PAD-1 says.\n\n```text\nlo, hi\n```\n"}  # before its clauses
HOSTILE = (
    "<script>alert(1)</script>\x00\x1b[31m\u202e|`](javascript:x)\ud800 <img src=x onerror=alert(2)> {{ 7*7 }} --> ]]>"
)
REPRODUCER = """\
import torch
import torch.nn.functional as F

x = torch.tensor([[[0.0, 3.0, 4.0, 5.0]]])
w = torch.tensor([[[1.0, 2.0]]])
y = F.conv1d(x, w, stride=2, dilation=3)
print(torch.__version__, tuple(y.shape))
assert tuple(y.shape) == (1, 1, 1), "expected L_out = 1"
"""
CASE = {
    "n": 1, "c_in": 2, "c_out": 3, "length": 7, "kernel": 3, "stride": 2, "dilation": 1, "groups": 1,
    "padding": "same", "dtype": "float32", "recipe": "lattice", "seed": 7,
}  # fmt: skip
FAILURE = {
    "message": "wrong gradient: gx differs at 3 of 14 samples",
    "case": CASE,
    "expected": "gx[0, 1, 2:5] = [6.0, 11.0, 14.0]",
    "got": "gx[0, 1, 2:5] = [6.0, 0.0, 0.0]",
    "confirmed": "fresh process",
    "reproducer": REPRODUCER,
}
DEVIATION = {
    "reason": "the extra zero of same goes to the front where the stride is even",
    "link": "https://example.org/issues/1",
    "when": "padding == 'same' and stride % 2 == 0",
    "kind": "fail",
    "examples": 17,
    "reproducer": REPRODUCER,
    "message": "y differs at 1 of 4 samples",
    "case": CASE,
}
ACCURACY = {
    "of_bound": 0.312, "ulps": 0.83, "at": "y[0, 1, 5]", "case": CASE, "power": {"float64": 4.4e-16, "float32": 1.2e-7},
}  # fmt: skip
EVIDENCE: Mapping[str, dict[str, Any]] = {
    "fail": FAILURE,
    "crash": {**FAILURE, "message": "the process died of SIGSEGV", "got": "signal 11"},
    "hang": {**FAILURE, "message": "no answer within 30 s", "got": "nothing"},
    "exit": {**FAILURE, "message": "the process ended with status 0", "got": "exit 0"},
    "deviation": {"deviations": [DEVIATION]},
    "error": {"message": "the adapter raised ImportError"},
}


def make_clauses(per_chapter: int = 10) -> dict[str, Clause]:
    """A spec of ten chapters; the first clause of a chapter is MUST, the last two are SHOULD and REPORT."""
    found: dict[str, Clause] = {}
    for prefix, chapter in CHAPTERS.items():
        text = f"# {chapter}\n\n"
        for number in range(1, per_chapter + 1):
            level = {per_chapter - 1: "SHOULD", per_chapter: "REPORT"}.get(number, "MUST")
            text += f"### {prefix}-{number} ({level}) {TITLES[number % len(TITLES)]}\n\n"
            text += (
                "The output has `L_out = max(0, floor((L + lo + hi - d (K-1) - 1) / s) + 1)` samples, **always**.\n\n"
            )
            text += "See PAD-2, not NO-77, and <b>not html</b>.\n\n| L | K | L_out |\n| - | - | - |\n| 4 | 2 | 3 |\n\n"
        found |= {clause.id: clause for clause in parse(text, prefix)}
    return found


def make_row(
    clause: Clause, surface: str, verdict: str = "pass", evidence: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A row with plausible counts; the evidence is that of the verdict unless another is given."""
    run = 0 if verdict in ("error", "not run") else 120
    return {
        "id": clause.id,
        "level": clause.level,
        "surface": surface,
        "verdict": verdict,
        "examples": {
            "run": run,
            "telling": 80 if run else 0,
            "deviating": 17 if verdict == "deviation" else 0,
            "refused": 12 if verdict == "refused" else 0,
            "unsupported": run if verdict == "unsupported" else 0,
        },
        "evidence": EVIDENCE.get(verdict, {}) if evidence is None else evidence,
    }


def make_certificate(
    name: str = "torch",
    *,
    verdict: str = "conformant",
    verdicts: Mapping[str, str | dict[str, Any]] | None = None,
    surfaces: tuple[str, ...] = ("functional", "padded"),
    version: str = "2.13.0",
    device: str = "cpu",
    complete: bool = True,
    clauses: Mapping[str, Clause] | None = None,
) -> Certificate:
    """A valid certificate; `verdicts` maps clause ids to a verdict, or to a whole evidence of a failure."""
    spec = make_clauses() if clauses is None else clauses
    rows = []
    for clause in spec.values():
        for surface in surfaces:
            said = (verdicts or {}).get(clause.id, "pass")
            rows.append(
                make_row(clause, surface, said) if isinstance(said, str) else make_row(clause, surface, "fail", said)
            )
    return validate(
        {
            "schema": 1,
            "suite": {"version": "0.1.0", "profile": "standard", "seed": 0, "complete": complete},
            "backend": {"name": name, "versions": {name: version}, "device": device, "surfaces": list(surfaces)},
            "verdict": verdict,
            "clauses": rows,
            "arithmetic": [
                {"surface": "functional", "dtype": "float32", "class": "ieee", "text": "products and sums keep 24 bits"}
            ],
            "limits": [
                {
                    "surface": surfaces[0],
                    "when": "lo != hi",
                    "reason": "pads both sides alike",
                    "found": False,
                    "verdict": "holds",
                }
            ],
            "run": {
                "started": "2026-01-01T00:00:00Z",
                "seconds": 61.5,
                "host": {"cpus": 2},
                "python": "3.11.7",
                "platform": "Linux",
            },
        },
        name,
    )


def make_set() -> dict[str, Certificate]:
    """A folder as a user has it: certified, deviating, failing, cut short, broken; every verdict somewhere."""
    every = {
        "GRAD-4": "fail",
        "SHAPE-6": "crash",
        "ERR-7": "hang",
        "ERR-3": "exit",
        "PAD-5": "deviation",
        "SHAPE-4": "refused",
        "PAD-2": "unsupported",
        "ACC-6": "vacuous",
        "ACC-9": "fail",
        "INV-3": "error",
        "INV-10": "not run",
    }
    return {
        "numpy-cpu": make_certificate("numpy", version="2.4.6", surfaces=("functional",)),
        "jax-cpu": make_certificate(
            "jax",
            version="0.10.2",
            verdict="conformant with deviations",
            verdicts={"PAD-5": "deviation", "VAL-8": "deviation", "SHAPE-5": "refused"},
        ),
        "torch-cpu": make_certificate("torch", verdict="nonconformant", verdicts=every),
        "tensorflow-cpu": make_certificate(
            "tensorflow",
            version="2.21.0",
            verdict="partial",
            complete=False,
            verdicts={f"{prefix}-{n}": "not run" for prefix in ("INV", "EX", "CONF") for n in range(1, 11)},
            surfaces=("functional", "padded", "channels-last"),
        ),
        "mlx-gpu": make_certificate(
            "mlx",
            version="0.30.1",
            device="gpu",
            verdict="error",
            surfaces=("functional",),
            verdicts=dict.fromkeys(make_clauses(), "error"),
        ),
    }
