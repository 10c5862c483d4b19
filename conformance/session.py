"""One certification: a backend, its surfaces and limits, every check that was carried out, and the certificate."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import conv1d_cts
from conv1d_cts.adapters import known_deviations, registry
from conv1d_cts.conformance.backend import Backend, Surface
from conv1d_cts.conformance.check import Check, Limit, LimitRecord, Trial
from conv1d_cts.conformance.ledger import Tally, overall, row
from conv1d_cts.conformance.pool import PROFILES, pool
from conv1d_cts.conformance.probing import float_dtypes, limits_of
from conv1d_cts.spec.clauses import clauses

SCHEMA = 1


class UnknownSurfaceError(LookupError):
    """The backend has no surface of that name; the message gives those it has."""


@dataclass(frozen=True)
class Options:
    """What is certified, and how far."""

    backend: str
    device: str = "cpu"
    surfaces: tuple[str, ...] = ()
    profile: str = "standard"
    seed: int = 0
    python: str = ""
    deviations: str = ""


@dataclass
class Session:
    """A certification under way. Raises on creation what makes it impossible: UnknownBackendError, Broken, Died."""

    options: Options
    tallies: dict[tuple[str, str], list[Tally]] = field(default_factory=dict)
    limit_records: dict[Limit, LimitRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started, self._clock = datetime.now(UTC), time.monotonic()
        source = registry.find(self.options.backend)
        self.backend = Backend(source, self.options.device, self.options.python)
        try:
            self.description = self.backend.describe()
            self.surface_names = self._chosen_surfaces()
            self.deviations = known_deviations.load(
                self.description["name"], self.description["versions"], self.options.deviations
            )
            self._trials = {name: self._trial(name) for name in self.surface_names}
        except BaseException:
            self.close()
            raise

    def _chosen_surfaces(self) -> list[str]:
        offered = list(self.description["surfaces"])
        unknown = [name for name in self.options.surfaces if name not in offered]
        if unknown:
            raise UnknownSurfaceError(f"{self.description['name']} has no surface {unknown[0]!r}: {', '.join(offered)}")
        return [name for name in offered if not self.options.surfaces or name in self.options.surfaces]

    def _trial(self, name: str) -> Trial:
        surface = Surface(self.backend, name)
        limits = limits_of(surface, self.description)
        cases = pool(PROFILES[self.options.profile], self.options.seed, float_dtypes(surface, limits))
        return Trial(surface, cases, limits, self.deviations, self.limit_records)

    def run(self, check: Check, surface: str) -> Tally:
        """Carry out a check on a surface and keep what came of it."""
        tally = self._trials[surface].run(check)
        self.tallies.setdefault((check.clause, surface), []).append(tally)
        return tally

    def rows(self) -> list[dict[str, Any]]:
        """A row for every clause on every surface, those not carried out included."""
        rows = []
        for clause in clauses().values():
            for surface in self.surface_names:
                tallies = self.tallies.get((clause.id, surface))
                rows.append(row(tallies) if tallies else _not_run(clause.id, clause.level, surface))
        return rows

    def limits(self) -> list[dict[str, Any]]:
        """Every limit with what came of trying it."""
        listed = dict.fromkeys(limit for trial in self._trials.values() for limit in trial.limits)
        return [_limit_entry(limit, self.limit_records.get(limit)) for limit in listed]

    def certificate(self, interrupted: bool) -> dict[str, Any]:
        """The certificate as plain data (chapter CONF)."""
        rows = self.rows()
        complete = not interrupted and all(r["verdict"] != "not run" for r in rows)
        own = self.description
        return {
            "schema": SCHEMA,
            "suite": {
                "version": conv1d_cts.__version__, "profile": self.options.profile, "seed": self.options.seed,
                "complete": complete,
            },
            "backend": {
                "name": own["name"], "versions": own["versions"], "device": self.options.device,
                "surfaces": self.surface_names,
            },
            "verdict": overall(rows, complete),
            "clauses": rows,
            "arithmetic": [],
            "limits": self.limits(),
            "run": {
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._clock, 1),
                "host": {"machine": platform.machine(), "system": platform.system()},
                "python": own["process"]["python"],
                "platform": own["process"]["platform"],
            },
        }  # fmt: skip

    def finish(self, folder: Path, interrupted: bool) -> Path:
        """Write the certificate and give its path; a file of that name is replaced only by a whole one."""
        path = folder / f"{self.description['name']}-{self.options.device.replace(':', '')}.json"
        text = json.dumps(self.certificate(interrupted), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        partial = path.with_suffix(".json.partial")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    def close(self) -> None:
        """End the backend's processes."""
        self.backend.close()


def _not_run(clause: str, level: str, surface: str) -> dict[str, Any]:
    none = dict.fromkeys(("run", "telling", "deviating", "refused", "unsupported"), 0)
    return {"id": clause, "level": level, "surface": surface, "verdict": "not run", "examples": none, "evidence": {}}


def _limit_entry(limit: Limit, record: LimitRecord | None) -> dict[str, Any]:
    tried = record is not None and (record.refused or record.worked)
    verdict = "not tried" if record is None or not tried else "stale" if record.worked else "holds"
    return {"when": limit.when.text, "reason": limit.reason, "found": limit.found, "verdict": verdict}
