"""One certification from end to end: pytest in this process, away from the user's own settings, and the certificate.

Whatever happens, a certificate is written as soon as there is a backend to speak of: whole, partial when the run was
cut short, or `error` when the adapter could not be loaded.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

import conv1d_cts
from conv1d_cts.adapters import registry
from conv1d_cts.conformance import plugin
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.interruption import Interruption
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.ledger import FAILURES
from conv1d_cts.conformance.progress import Display
from conv1d_cts.conformance.session import (
    SCHEMA,
    Options,
    Session,
    UnknownOptionError,
    certificate_path,
    write,
)  # fmt: skip
from conv1d_cts.spec.clauses import clauses

AS_EXPECTED, UNEXPECTED, USAGE, SUITE = 0, 1, 2, 3
_SIGNAL = 128  # what a shell adds to the number of the signal that ended a process


@dataclass(frozen=True)
class Outcome:
    """What came of a certification: the exit code, the certificate's path where there is one, a line for the user."""

    code: int
    path: Path | None = None
    message: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether a signal cut the run short."""
        return self.code > _SIGNAL


@dataclass
class _Observer:
    """Hands the session to the plugin, tells the display where the run is, and keeps what went wrong in the suite."""

    session: Session
    display: Display
    interruption: Interruption
    problems: list[str] = field(default_factory=list)
    _started: bool = False
    _chapters: set[str] = field(default_factory=set)
    _told: set[int] = field(default_factory=set)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[plugin.SESSION] = self.session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.display.start(_checks_of_chapters(item.nodeid for item in items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self._started:  # each worker has collected the same
            self._started = True
            self.display.start(_checks_of_chapters(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.interruption.check()
        clause = clauses().get(str(dict(report.user_properties).get(plugin.CLAUSE)))
        if clause is not None and clause.chapter not in self._chapters:
            self._chapters.add(clause.chapter)
            self.display.chapter(clause.chapter)
        if report.when == "call" and clause is not None:
            self.display.advance(clause.chapter)
            self._tell()
        elif report.failed:
            self.problems.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_sessionfinish(self) -> None:
        self._tell()

    def _tell(self) -> None:
        """Each failure once, as soon as it is known."""
        for tally in (tally for tallies in self.session.tallies.values() for tally in tallies if tally.kind):
            if id(tally) not in self._told:
                self._told.add(id(tally))
                self.display.found(tally.line)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.problems.append(_last_line(str(excrepr)))


def _checks_of_chapters(ids: Iterable[str]) -> Counter[str]:
    """How many of the tests belong to each chapter, in the order of the run; a test is named after its check."""
    chapters = {name.rpartition(".")[2]: clauses()[check.clause].chapter for name, check in checks()}
    return Counter(chapters[test.rpartition("::")[2].partition("[")[0]] for test in ids)


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


_ARGUMENTS = (
    "-c", os.devnull, "--noconftest", "--import-mode=importlib", "--assert=plain", "--capture=no",
    "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", plugin.__name__,
)  # fmt: skip
_OWN_SETTINGS = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "CONV1D_CTS_CACHE")


@contextmanager
def _away_from_the_user() -> Iterator[Path]:
    """No plugin, option or folder of the user's in the run: pytest and Hypothesis keep what they keep elsewhere.

    What a framework compiles may be kept in a folder too, which the processes of a run share.
    """
    settings = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", *_OWN_SETTINGS)}
    with tempfile.TemporaryDirectory(prefix="conv1d-cts-") as folder:
        os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CONV1D_CTS_CACHE": str(Path(folder, "compiled"))}
        set_hypothesis_home_dir(folder)
        try:
            yield Path(folder)
        finally:
            set_hypothesis_home_dir(None)
            for name, value in settings.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _for_workers(options: Options) -> list[str]:
    """The arguments with which each worker starts a session like this one."""
    own = {
        "--backend": options.backend, "--device": options.device, "--profile": options.profile,
        "--cts-seed": str(options.seed), "--python": options.python, "--host": options.host,
        "--deviations": options.deviations,
    }  # fmt: skip
    given = [f"{name}={value}" for name, value in own.items() if value]
    return [
        *given, *(f"--surface={name}" for name in options.surfaces),
        "-p", "xdist.plugin", "--numprocesses", str(options.jobs),
    ]  # fmt: skip


def _run_checks(session: Session, display: Display, interruption: Interruption) -> list[str]:
    """Carry out every check; what went wrong in the suite, one line each."""
    observer = _Observer(session, display, interruption)
    folder = Path(plugin.__file__).parent
    workers = _for_workers(session.options) if session.options.jobs > 1 else []
    pytest.main([*_ARGUMENTS, *workers, "--rootdir", str(folder), str(folder)], plugins=[observer])
    return observer.problems


def certify(options: Options, folder: Path, display: Display, taken: Collection[Path] = ()) -> Outcome:
    """Certify one backend and write its certificate into `folder`, which exists; never over one of those in `taken`.

    A user's mistake, an installation that lacks something and an interruption become outcomes, not exceptions.
    """
    interruption = Interruption()
    with interruption.watched(), _away_from_the_user():
        try:
            with display:
                return _certify(options, folder, display, taken, interruption)
        except KeyboardInterrupt:
            return Outcome(_SIGNAL + interruption.number, message="interrupted before anything was tried")


def _certify(
    options: Options, folder: Path, display: Display, taken: Collection[Path], interruption: Interruption
) -> Outcome:
    try:
        session = Session(options)
    except (registry.UnknownBackendError, FileNotFoundError, UnknownOptionError) as mistake:
        return Outcome(USAGE, message=str(mistake))
    except (Broken, Died) as problem:
        return _broken(options, folder, taken, problem)
    try:
        path = certificate_path(folder, session.name, session.options.device)
        if path in taken:
            return Outcome(USAGE, message=f"{options.backend} calls itself {session.name!r}, as one before it does")
        problems = _carry_out(session, display, interruption)
        interruption.writing = True
        certificate = session.certificate(interrupted=bool(interruption.number))
        write(certificate, path)
    finally:
        session.close()
    return _outcome(certificate, path, problems, interruption.number)


def _carry_out(session: Session, display: Display, interruption: Interruption) -> list[str]:
    """The checks; pytest swallows an interruption among them, and one outside them ends them as well."""
    try:
        return _run_checks(session, display, interruption)
    except KeyboardInterrupt:
        return []


def exit_code(certificate: dict[str, Any]) -> int:
    """3 for an error, 1 where a MUST failed or a deviation is stale, 3 for a run that is not whole; otherwise 0."""
    rows = certificate["clauses"]
    if certificate["verdict"] == "error":
        return SUITE
    stale = any(str(r["evidence"].get("message", "")).startswith("stale deviation") for r in rows)
    if stale or any(r["level"] == "MUST" and r["verdict"] in FAILURES for r in rows):
        return UNEXPECTED
    return AS_EXPECTED if certificate["suite"]["complete"] else SUITE


def _outcome(certificate: dict[str, Any], path: Path, problems: list[str], number: int) -> Outcome:
    if number:
        return Outcome(_SIGNAL + number, path, f"interrupted: the certificate is partial: {path}")
    rows = certificate["clauses"]
    said = [f"{r['id']} on {r['surface']}: {r['evidence']['message']}" for r in rows if r["verdict"] == "error"]
    untried = list(dict.fromkeys(r["id"] for r in rows if r["verdict"] == "not run"))
    if untried:
        said.append(f"{len(untried)} clauses were not run: {untried[0]} to {untried[-1]}")
    message = "\n".join(f"the suite failed: {line}" for line in [*problems, *said])
    return Outcome(SUITE if problems else exit_code(certificate), path, message)


def explain_broken(problem: Broken | Died, python: str) -> str:
    """One line for an adapter that can't be loaded: the pip command where only the framework is missing."""
    missing = getattr(problem, "missing", None)
    if missing in registry.PIP_COMMANDS:
        prefix = "" if python == sys.executable else f"{python} -m "
        return f"{missing} is not installed: {prefix}{registry.PIP_COMMANDS[missing]}"
    return " ".join(str(problem).split()) + (" while the adapter was loaded" if isinstance(problem, Died) else "")


def failed_installation(options: Options, folder: Path, message: str) -> Path:
    """Write an `error` certificate for a backend that could not even be installed; `folder` exists."""
    path = certificate_path(folder, options.backend, options.device)
    write(_error_certificate(options, options.backend, message), path)
    return path


def _broken(options: Options, folder: Path, taken: Collection[Path], problem: Broken | Died) -> Outcome:
    """Write an `error` certificate, which says nothing about the backend but that it could not be tried."""
    source = registry.find(options.backend)
    message = explain_broken(problem, options.python)
    path = certificate_path(folder, source.name, options.device)
    if path not in taken:
        write(_error_certificate(options, source.name, message), path)
    return Outcome(SUITE, path, f"{source.name}: {message}")


def _error_certificate(options: Options, name: str, message: str) -> dict[str, Any]:
    surfaces = list(dict.fromkeys(options.surfaces)) or ["functional"]
    none = dict.fromkeys(("run", "telling", "deviating", "refused", "unsupported"), 0)
    return {
        "schema": SCHEMA,
        "suite": {
            "version": conv1d_cts.__version__, "profile": options.profile, "seed": options.seed, "complete": False,
        },
        "backend": {"name": name, "versions": {}, "device": options.device, "surfaces": surfaces},
        "verdict": "error",
        "clauses": [
            {"id": clause.id, "level": clause.level, "surface": surface, "verdict": "error", "examples": none,
             "evidence": {"message": message}}
            for clause in clauses().values() for surface in surfaces
        ],
        "arithmetic": [],
        "limits": [],
        "run": {
            "started": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": 0,
            "host": {"machine": platform.machine(), "system": platform.system()},
        },
    }  # fmt: skip
