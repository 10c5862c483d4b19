"""The certificate of one backend: its types, its published schema, reading and writing.

The JSON is canonical (chapter CONF): equal certificates have equal bytes. A file that is no certificate of a known
schema version is refused by name, in one line, before anything else looks at it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from conv1d_cts.reports.text import one_line

SCHEMA_VERSION: Final = 1


class CertificateError(ValueError):
    """A file that cannot be read as a certificate; the message is one line and names the file."""


class Suite(TypedDict):
    """What issued the certificate; `complete` is false where the run was cut short."""

    version: str
    profile: str
    seed: int
    complete: bool


class Backend(TypedDict):
    """A framework at its versions on a device, and the surfaces that were tried; what is known of the device."""

    name: str
    versions: dict[str, str]
    device: str
    surfaces: list[str]
    device_facts: NotRequired[dict[str, str]]


class Examples(TypedDict):
    """How many examples a clause saw on a surface, and what became of them."""

    run: int
    telling: int
    deviating: int
    refused: int
    unsupported: int


class ClauseRow(TypedDict):
    """The verdict of one clause on one surface, with its evidence (keys depend on the verdict)."""

    id: str
    level: str
    surface: str
    verdict: str
    examples: Examples
    evidence: dict[str, Any]


# The functional form, because `class` is a keyword of Python. `switch` is what changes the arithmetic, `quantities` the
# facts of y, gx, gw and gb with their evidence.
ArithmeticRow = TypedDict(
    "ArithmeticRow",
    {
        "surface": str,
        "dtype": str,
        "class": str,
        "text": str,
        "switch": NotRequired[str],
        "quantities": NotRequired[list[dict[str, Any]]],
    },
)


class LimitRow(TypedDict):
    """One limit, declared or found, and whether it refused cleanly; without a surface it holds on any."""

    surface: NotRequired[str]
    when: str
    reason: str
    found: bool
    verdict: str


class Combined(TypedDict):
    """Of all combinations of classes of two or three parameters, how many were met."""

    met: int
    of: int


class Fuzzing(TypedDict):
    """Examples beside those of the seed, the seconds they took, and the rows (id, surface) that fail by them."""

    seconds: float
    examples: int
    failures: list[dict[str, str]]


class Certificate(TypedDict):
    """Everything the suite learnt about one backend."""

    schema: int
    suite: Suite
    backend: Backend
    verdict: str
    clauses: list[ClauseRow]
    arithmetic: list[ArithmeticRow]
    coverage: NotRequired[dict[str, dict[str, int]]]
    combinations: NotRequired[dict[str, Combined]]
    limits: list[LimitRow]
    fuzzing: NotRequired[Fuzzing]
    run: dict[str, Any]


@cache
def schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of a certificate."""
    text = resources.files("conv1d_cts.reports").joinpath("certificate.schema.json").read_text(encoding="utf-8")
    return cast(dict[str, Any], json.loads(text))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def load(path: Path) -> Certificate:
    """The certificate in the file. Raises CertificateError (not JSON, unknown schema version, schema violation)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise CertificateError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{path.name}: not JSON: {one_line(str(error), 160)}") from error
    return validate(raw, path.name)


def validate(raw: object, name: str) -> Certificate:
    """`raw` as a certificate; `name` is what messages call it. Raises CertificateError."""
    version = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise CertificateError(f"{name}: certificate schema {version} is unknown; this version reads {SCHEMA_VERSION}")
    problem = best_match(_validator().iter_errors(raw))
    if problem is not None:
        where = one_line(problem.json_path, 80)
        raise CertificateError(f"{name}: not a certificate: {where}: {one_line(problem.message, 160)}")
    return cast(Certificate, raw)


def dumps(certificate: Mapping[str, Any]) -> str:
    """Canonical JSON: keys sorted, two spaces, one newline at the end. Raises ValueError for NaN and infinity."""
    return json.dumps(certificate, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def dump(certificate: Mapping[str, Any], path: Path) -> None:
    """Write the certificate whole or not at all. Raises ValueError for NaN and infinity, and OSError."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(dumps(certificate), encoding="utf-8", newline="\n")
    os.replace(beside, path)


def load_folder(folder: Path) -> tuple[dict[str, Certificate], list[str]]:
    """The certificates of `*.json` in the folder by file stem, sorted by name; and one line for each broken file."""
    found: dict[str, Certificate] = {}
    broken: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = load(path)
        except CertificateError as error:
            broken.append(str(error))
    return found, broken


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if abs(number) != float("inf") else _refuse(digits)
