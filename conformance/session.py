"""One certification: a backend, its surfaces and limits, every check that was carried out, and the certificate."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from threadpoolctl import threadpool_limits

import conv1d_cts
from conv1d_cts.adapters import known_deviations, registry
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance import catalog, coverage
from conv1d_cts.conformance.arithmetic.fingerprint import Fingerprint
from conv1d_cts.conformance.arithmetic.words import rows as arithmetic_rows
from conv1d_cts.conformance.backend import Backend, Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.process import Broken, Interpreter, Limits
from conv1d_cts.conformance.ledger import Limit, LimitRecord, Tally, overall, row
from conv1d_cts.conformance.pool import PROFILES, every_padding, layers, pool
from conv1d_cts.conformance.probing import float_dtypes, limits_of
from conv1d_cts.conformance.relatives import nearest
from conv1d_cts.conformance.trial import Trial
from conv1d_cts.spec.clauses import clauses

SCHEMA = 1
LIMITS_CLAUSE, ARITHMETIC_CLAUSE = "CONF-2", "ARITH-1"


class UnknownOptionError(LookupError):
    """The backend has no such surface or device, or the deviations cannot be read; the message is one line."""


@dataclass(frozen=True)
class Options:
    """What is certified, and how far."""

    backend: str
    device: str = "cpu"
    surfaces: tuple[str, ...] = ()
    profile: str = "standard"
    seed: int = 0
    python: str = ""
    host: str = ""
    in_process: bool = False
    deviations: str = ""
    jobs: int = 1
    call_seconds: float = 30.0
    shrink_seconds: float = 20.0
    memory_bytes: int = Limits.memory_bytes


@dataclass
class Session:
    """A certification under way.

    Raises on creation what makes it impossible: UnknownBackendError, FileNotFoundError and UnknownOptionError, which
    are the user's; Broken and Died, which are the installation's.
    """

    options: Options
    tallies: dict[tuple[str, str], list[Tally]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started, self._clock = datetime.now(UTC), time.monotonic()
        source = registry.find(self.options.backend)
        limits = Limits(call_seconds=self.options.call_seconds, memory_bytes=self.options.memory_bytes)
        interpreter = Interpreter(self.options.python, self.options.host)
        self.backend = Backend(source, self.options.device, interpreter, limits, self.options.in_process)
        # The judge's own products are small: a second thread of BLAS would only take a core from the backend.
        self._threads = None if self.options.in_process else threadpool_limits(1, user_api="blas")
        try:
            self.description = self.backend.describe()
            self._find_device()
            self.surface_names = self._chosen_surfaces()
            self.deviations = self._known_deviations()
            self._trials = {name: self._trial(name) for name in self.surface_names}
        except BaseException:
            self.close()
            raise

    def _chosen_surfaces(self) -> list[str]:
        offered = list(self.description["surfaces"])
        unknown = [name for name in self.options.surfaces if name not in offered]
        if unknown:
            raise UnknownOptionError(f"{self.name} has no surface {unknown[0]!r}; it has: {', '.join(offered)}")
        usual = offered if PROFILES[self.options.profile].every_surface else offered[:1]
        return [name for name in offered if name in (self.options.surfaces or usual)]

    def _find_device(self) -> None:
        """Go on under the adapter's own name of the device."""
        device, offered = self.description["device"], self.description["devices"]
        if not device:
            raise UnknownOptionError(
                f"{self.name} has no device {self.options.device!r} here; it has: {', '.join(offered)}"
            )
        self.options = replace(self.options, device=device)
        self.backend.device = device

    def _known_deviations(self) -> tuple[Deviation, ...]:
        try:
            found = known_deviations.load(
                self.name,
                self.description["versions"],
                self.description["process"]["cpu_flags"],
                self.options.deviations,
                self.options.device,
            )
            for deviation in found:
                catalog.require_cases_are_tried(deviation)
            return found
        except ValueError as error:
            raise UnknownOptionError(f"deviations: {error}") from None

    def _trial(self, name: str) -> Trial:
        further = name != self.surface_names[0]
        surface = Surface(self.backend, name, brief=further and self.options.profile == "quick")
        try:
            limits = limits_of(surface, self.description)
        except ValueError as error:
            raise Broken({"type": "ValueError", "message": f"limits: {error}", "where": ""}) from None
        profile, dtypes = PROFILES[self.options.profile], float_dtypes(surface, limits)
        drawn = pool(profile, self.options.seed, dtypes)
        trial = Trial(
            surface, (), profile.sample, limits, self.deviations,
            shrink_seconds=self.options.shrink_seconds, thorough=profile.name == "thorough",
            spread=profile.spread, most=profile.spread,
        )  # fmt: skip

        def possible(case: Case) -> bool:
            return trial.limit(case.facts()) is None

        def nearest_of(cases: Iterable[Case]) -> list[Case]:
            found = (nearest(case, possible) for case in cases)
            return list(dict.fromkeys(case for case in found if case is not None))

        cases, limited = nearest_of(drawn), tuple(case for case in drawn if not possible(case))
        if not further:
            return replace(trial, cases=tuple(cases), limited=limited)
        usual = nearest_of(layers(self.options.seed, dtypes[:1]))
        others = every_padding([case for case in cases if case not in usual], profile.further - len(usual))
        return replace(
            trial, cases=(*usual, *others), sample=profile.further_sample, limited=limited,
            spread=profile.further_spread, most=profile.further_own, costly=profile.further_costly,
            turn=crc32(name.encode()),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The backend's name, as its adapter gives it."""
        return str(self.description["name"])

    def trial(self, surface: str) -> Trial:
        """The engine that tries checks on a surface."""
        return self._trials[surface]

    def run(self, check: Check, surface: str, last: bool = True) -> Tally:
        """Carry out a check on a surface and keep what came of it; a failure of the suite itself is an `error`.

        The `last` check of a clause on a surface also judges whether its deviations are stale.
        """
        earlier, before = self.tallies.setdefault((check.clause, surface), []), self.backend.seconds
        try:
            tally = self._trials[surface].run(check, earlier, last)
        except Exception as error:
            tally = Tally(check.clause, surface, check.minimum)
            tally.err(error)
        tally.backend_seconds = self.backend.seconds - before
        earlier.append(tally)
        return tally

    def gather(self, tally: Tally) -> None:
        """Keep what came of a check that was carried out in another process."""
        self.tallies.setdefault((tally.clause, tally.surface), []).append(tally)

    def rows(self) -> list[dict[str, Any]]:
        """A row for every clause on every surface, those not carried out included."""
        rows = []
        for clause in clauses().values():
            for surface in self.surface_names:
                tallies = list(self.tallies.get((clause.id, surface), ()))
                if clause.id == LIMITS_CLAUSE and tallies:
                    tallies += self._wrong_limits(surface)
                rows.append(row(tallies) if tallies else _not_run(clause.id, clause.level, surface))
        return rows

    def _wrong_limits(self, surface: str) -> list[Tally]:
        """A failure of CONF-2 for each limit in which a call was not refused, and for each that was not declared."""
        failures: list[dict[str, Any]] = []
        for limit, record in self._records(surface).items():
            if limit.found and self.description["limits"] is not None:
                failures.append({"message": f"{limit.when.text!r} is no declared limit, and {limit.reason}"})
            elif record.worked:
                message = f"{limit.when.text!r} is a limit; in it: {record.worked['message']}"
                failures.append({**record.worked, "message": message})
        return [Tally(LIMITS_CLAUSE, surface, 0, kind="fail", failure=failure) for failure in failures]

    def _records(self, surface: str) -> dict[Limit, LimitRecord]:
        """What came of each limit of a surface in all checks, in the order of the spec."""
        records = {limit: LimitRecord() for limit in self._trials[surface].limits}
        for clause in clauses():
            for tally in self.tallies.get((clause, surface), ()):
                for limit, record in tally.limits.items():
                    records[limit].add(record)
        return records

    def limits(self) -> list[dict[str, Any]]:
        """Every limit of every surface with what came of trying it."""
        return [
            _limit_entry(name, limit, record)
            for name in self.surface_names
            for limit, record in self._records(name).items()
        ]

    def arithmetic(self) -> list[dict[str, Any]]:
        """The arithmetic found, a row for each dtype on each surface (chapter ARITH)."""
        found: dict[tuple[str, str], list[Fingerprint]] = {}
        for surface in self.surface_names:
            for tally in self.tallies.get((ARITHMETIC_CLAUSE, surface), ()):
                for fingerprint in tally.fingerprints:
                    found.setdefault((surface, fingerprint.dtype), []).append(fingerprint)
        return arithmetic_rows(found, self.description["switches"])

    def certificate(self, interrupted: bool) -> dict[str, Any]:
        """The certificate as plain data (chapter CONF)."""
        rows = self.rows()
        complete = not interrupted and all(r["verdict"] != "not run" for r in rows)
        own, cases = self.description, self._trials[self.surface_names[0]].cases
        return {
            "schema": SCHEMA,
            "suite": {
                "version": conv1d_cts.__version__, "profile": self.options.profile, "seed": self.options.seed,
                "complete": complete,
            },
            "backend": {
                "name": own["name"], "versions": own["versions"], "device": self.options.device,
                "surfaces": self.surface_names,
                **({"device_facts": own["device_facts"]} if own["device_facts"] else {}),
            },
            "verdict": overall(rows, complete),
            "clauses": rows,
            "arithmetic": self.arithmetic(),
            "coverage": coverage.extents(cases),
            "combinations": {"pairs": coverage.combined(cases, 2), "triples": coverage.combined(cases, 3)},
            "limits": self.limits(),
            "run": {
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._clock, 1),
                "backend_seconds": round(sum(t.backend_seconds for found in self.tallies.values() for t in found), 1),
                "host": {"machine": platform.machine(), "system": platform.system()},
                "python": own["process"]["python"],
                "platform": own["process"]["platform"],
            },
        }  # fmt: skip

    def finish(self, folder: Path, interrupted: bool) -> Path:
        """Write the certificate, making the folder where there is none, and give its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = certificate_path(folder, self.name, self.options.device)
        write(self.certificate(interrupted), path)
        return path

    def close(self) -> None:
        """End the backend's processes."""
        self.backend.close()
        if self._threads is not None:
            self._threads.restore_original_limits()


def _not_run(clause: str, level: str, surface: str) -> dict[str, Any]:
    none = dict.fromkeys(("run", "telling", "deviating", "refused", "unsupported"), 0)
    return {"id": clause, "level": level, "surface": surface, "verdict": "not run", "examples": none, "evidence": {}}


def certificate_path(folder: Path, name: str, device: str) -> Path:
    """Where the certificate of a backend on a device goes: <backend>-<device>.json, whatever characters they have."""
    return folder / (re.sub(r"[^A-Za-z0-9._]+", "-", f"{name}-{device.replace(':', '')}").strip("-.") + ".json")


def write(certificate: dict[str, Any], path: Path) -> None:
    """Write the certificate as canonical JSON; a file of that name is replaced only by a whole one."""
    text = json.dumps(certificate, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    partial = path.with_suffix(".json.partial")
    partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    partial.replace(path)


def _limit_entry(surface: str, limit: Limit, record: LimitRecord) -> dict[str, Any]:
    verdict = "stale" if record.worked else "holds" if record.refused else "not tried"
    return {
        "surface": surface, "when": limit.when.text, "reason": limit.reason, "found": limit.found, "verdict": verdict,
    }  # fmt: skip
