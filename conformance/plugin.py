"""The pytest plugin: `pytest --pyargs conv1d_cts.conformance -p conv1d_cts.conformance.plugin --backend torch`.

Each test is one check on one surface. Whatever the checks find goes to the ledger; a certificate is written where
`--certificate` names a folder. With `-n` of pytest-xdist each worker drives a backend of its own and sends what it
finds to the controller, which alone keeps the ledger.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.adapters.registry import UnknownBackendError
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.ledger import Tally
from conv1d_cts.conformance.pool import PROFILES
from conv1d_cts.conformance.session import Options, Session, UnknownOptionError
from conv1d_cts.spec.clauses import clauses

SESSION = pytest.StashKey[Session]()
CLAUSE = "clause"  # the property of a test that names its clause, in JUnit files as well
_TALLY = "tally"  # the property that carries a tally from a worker to the controller


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a certification."""
    group = parser.getgroup("conv1d-cts", "conformance of conv1d backends")
    group.addoption("--backend", help="name of an installed adapter, or path of an adapter file")
    group.addoption("--device", default="cpu", help="device to compute on: cpu, gpu, cuda:1 (default: cpu)")
    group.addoption("--surface", action="append", help="only this surface; may be repeated (default: all)")
    group.addoption(
        "--profile",
        default="standard",
        choices=sorted(PROFILES),
        help="how far to go; quick takes the first surface only (default: standard)",
    )
    group.addoption("--cts-seed", type=int, default=0, help="seed of every case (default: 0)")
    group.addoption("--python", default=sys.executable, help="interpreter of the backend's process (default: this one)")
    group.addoption("--host", default="", help="run the backend there, over ssh (default: here)")
    group.addoption("--in-process", action="store_true", help="no process between, for a debugger; no certificate")
    group.addoption("--deviations", default="", help="file of known deviations (default: the one of the backend)")
    group.addoption("--certificate", default="", help="folder that the certificate is written to")


def _options(config: pytest.Config) -> Options:
    return Options(
        backend=config.getoption("--backend"),
        device=config.getoption("--device"),
        surfaces=tuple(config.getoption("--surface") or ()),
        profile=config.getoption("--profile"),
        seed=config.getoption("--cts-seed"),
        python=config.getoption("--python"),
        host=config.getoption("--host"),
        in_process=config.getoption("--in-process"),
        deviations=config.getoption("--deviations"),
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Start the backend, unless `certify` has: its surfaces name the tests."""
    config = session.config
    if not config.getoption("--backend") or SESSION in config.stash:
        return
    if config.getoption("--in-process") and config.getoption("--certificate"):
        raise pytest.UsageError("--in-process proves nothing: it goes without --certificate")
    try:
        config.stash[SESSION] = Session(_options(config))
    except (UnknownBackendError, FileNotFoundError, UnknownOptionError, Broken, Died) as problem:
        raise pytest.UsageError(str(problem)) from None


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that keeps the ledger hear what others find."""
    if not _is_worker(config):
        config.pluginmanager.register(_Gatherer(config))


class _Gatherer:
    """Takes the tallies out of the reports that workers send."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tallies = [value for name, value in report.user_properties if name == _TALLY and isinstance(value, bytes)]
        report.user_properties = [(name, value) for name, value in report.user_properties if name != _TALLY]
        if report.when == "call":
            for tally in tallies:
                self._config.stash[SESSION].gather(pickle.loads(tally))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the checks of a clause on a surface in one worker, and hand the clauses out in the order of the spec."""
    from conv1d_cts.conformance.scheduling import ByClause  # here, for xdist is loaded only where several work

    if not config.getoption("--backend"):
        return None
    config.option.loadscopereorder = False
    return ByClause(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Go through the clauses in the order of the spec; a clause's surfaces one after another."""
    order = {clause: position for position, clause in enumerate(clauses())}
    items.sort(key=lambda item: order.get(clause_of(item), -1))
    for item in items:
        if clause_of(item):
            item.user_properties.append((CLAUSE, clause_of(item)))


def clause_of(item: pytest.Item) -> str:
    """The id of the clause that a test tries; empty for any other test."""
    check = getattr(getattr(item, "function", None), "check", None)
    return str(getattr(check, "clause", ""))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each check on each surface."""
    check = getattr(metafunc.function, "check", None)
    if check is None or "conduct" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash.get(SESSION, None)
    metafunc.parametrize("conduct", session.surface_names if session else [], indirect=True)


@pytest.fixture
def conduct(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Carries out a check on the surface, and turns its verdict into pytest's."""
    session = request.config.stash[SESSION]

    def carry_out(check: Check) -> None:
        tally = session.run(check, request.param, _is_last(request.node))
        if _is_worker(request.config):
            request.node.user_properties.append((_TALLY, packed(tally)))
        if tally.kind:
            pytest.fail(_sentence(check.clause, tally.surface, tally.kind, tally.failure), pytrace=False)
        if tally.verdict == "deviation":
            pytest.xfail("; ".join(d.reason for d in tally.deviating))
        if tally.verdict != "pass":
            pytest.skip(tally.verdict)

    return carry_out


def packed(tally: Tally) -> bytes:
    """The tally as it is sent; one that cannot be is an error of the suite, and no clause that was not run."""
    try:
        return pickle.dumps(tally)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        lost = Tally(tally.clause, tally.surface, tally.minimum)
        lost.err(error)
        return pickle.dumps(lost)


def _is_last(item: pytest.Item) -> bool:
    """Whether no later item of the run tries the same clause on the same surface."""
    alike = (i for i in reversed(item.session.items) if _place(i) == _place(item))
    return next(alike) is item


def _place(item: pytest.Item) -> tuple[str, str]:
    """The clause and the surface of an item."""
    callspec = getattr(item, "callspec", None)
    return clause_of(item), callspec.params["conduct"] if callspec else ""


def _sentence(clause: str, surface: str, kind: str, failure: dict[str, Any]) -> str:
    lines = [f"{clause} on {surface}: {kind}: {failure['message']}"]
    lines += [
        f"  {name}: {failure[name]}"
        for name in ("case", "expected", "got", "confirmed", "history")
        if failure.get(name)
    ]
    return "\n".join(lines)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the backend's processes and write the certificate, whole or partial."""
    own = session.config.stash.get(SESSION, None)
    if own is None:
        return
    folder = session.config.getoption("--certificate")
    if folder and not _is_worker(session.config):
        own.finish(Path(folder), interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)
    own.close()
