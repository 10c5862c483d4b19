"""Backends that misbehave, all of them in one command: `python -m tests.hostile [NAME ...]`.

Each is an adapter file in a process of its own; a few checks are carried out on it, as in a certification, and its
certificate is written. Printed: what each did, what it was named for, and whether that is the verdict it must have.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from conv1d_cts import reports
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.session import Options, Session
from tests.adapter_files import adapter_file

CLAUSES = ("SHAPE-2", "INV-1", "INV-2", "INV-3")
_LIBM = "import ctypes; ctypes.CDLL('libm.so.6')"


@dataclass(frozen=True)
class Hostile:
    """What a backend does in each call, and the verdict of each clause that must not pass, with words of its message.

    `fault` is one statement; x, w, b, parameters, length and calls (the number of this one) are in its reach.
    """

    fault: str
    verdicts: dict[str, str]
    words: str = ""


def _everywhere(verdict: str) -> dict[str, str]:
    return dict.fromkeys(CLAUSES, verdict)


BANK = {
    "segfault": Hostile("import ctypes; ctypes.string_at(0)", _everywhere("crash"), "SIGSEGV"),
    "abort": Hostile("import os; os.abort()", _everywhere("crash"), "SIGABRT"),
    "division by zero": Hostile("import os; os.kill(os.getpid(), 8)", _everywhere("crash"), "SIGFPE"),
    "quiet exit": Hostile("import os; os._exit(0)", _everywhere("exit"), "status 0"),
    "exit with 3": Hostile("import os; os._exit(3)", _everywhere("exit"), "status 3"),
    "system exit": Hostile("raise SystemExit(0)", _everywhere("exit")),
    "sleep": Hostile("import time; length == 17 and time.sleep(3600)", {"SHAPE-2": "hang"}, "no answer within"),
    "memory": Hostile(
        "hoard = np.ones(2**27) if length == 17 else 0; import time; length == 17 and time.sleep(60)",
        {"SHAPE-2": "crash"}, "MiB of memory",
    ),
    "fork": Hostile("import os, time; os.fork() or (time.sleep(60), os._exit(0))", {}),
    "garbage": Hostile("import os; os.write(1, bytes(range(256)) * 64); print('garbage', flush=True)", {}),
    "rounding mode": Hostile(f"{_LIBM}.fesetround(0x800)", {}),
    "flush to zero": Hostile(
        "import mmap, ctypes; page = mmap.mmap(-1, 4096, prot=7); "
        "page.write(bytes.fromhex('0fae5c24fc814c24fc408000000fae5424fcc3')); "
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()", {},
    ),
    "second call": Hostile("import os; calls == 2 and os.abort()", {"SHAPE-2": "crash"}, "SIGABRT"),
    "one length": Hostile("import os; length == 17 and os.abort()", {"SHAPE-2": "crash"}, "SIGABRT"),
    "another shape": Hostile(
        "return correct.conv1d(x, w, b, **parameters)[..., :-1]", {"SHAPE-2": "fail"}, "y has shape"
    ),
    "alias": Hostile("return x if w.shape[-1] == 1 and w.shape[1] == 1 else correct.conv1d(x, w, b, **parameters)[:]",
                     {"INV-2": "fail"}, "shares memory"),
    "vandal": Hostile("x.size and x.flags.writeable and x.fill(0)", {"INV-1": "fail"}, "modified x"),
    "read-only": Hostile("y = correct.conv1d(x, w, b, **parameters); y.flags.writeable = False; return y", {}),
    "lazy failure": Hostile(
        "return type('Lazy', (), {'__array__': lambda s, *a, **k: exec('raise MemoryError(1)')})()",
        {"SHAPE-2": "fail"}, "refused a legal call: MemoryError",
    ),
    "unwritten memory": Hostile("y = correct.conv1d(x, w, b, **parameters); return np.empty_like(y)",
                                {"INV-3": "fail"}),
}  # fmt: skip


def certificate(name: str, folder: Path, **options: Any) -> dict[str, Any]:
    """The certificate of a hostile backend, of which the clauses in CLAUSES were tried, as it lies on the disk."""
    path = adapter_file(folder, BANK[name].fault, name.replace(" ", "_"))
    chosen = {
        "profile": "quick",
        "python": sys.executable,
        "call_seconds": 10.0,
        "shrink_seconds": 2.0,
        "memory_bytes": 512 << 20,
        **options,
    }
    session = Session(Options(str(path), **chosen))
    try:
        for _, check in checks():
            if check.clause in CLAUSES and "function" not in check.extra:  # of derivatives there is nothing more to see
                session.run(check, "functional")
        return reports.load(session.finish(folder, interrupted=False))
    finally:
        session.close()


def wrong(name: str, found: dict[str, Any]) -> list[str]:
    """What the certificate of a hostile backend says wrongly; empty where each verdict is the right one."""
    rows = {row["id"]: row for row in found["clauses"] if row["id"] in CLAUSES}
    hostile, said = BANK[name], []
    for clause, row in rows.items():
        expected = hostile.verdicts.get(clause)
        if expected and row["verdict"] != expected:
            said.append(f"{clause} is {row['verdict']}, not {expected}")
        if expected and hostile.words not in row["evidence"].get("message", ""):
            said.append(f"{clause} says {row['evidence'].get('message')!r}, without {hostile.words!r}")
        if not hostile.verdicts and row["verdict"] != "pass":
            said.append(f"{clause} is {row['verdict']}: {row['evidence'].get('message')}")
    return said


def left_behind() -> list[str]:
    """Processes that are still there, after a moment to end in."""
    children = psutil.Process().children(recursive=True)
    return [str(process) for process in psutil.wait_procs(children, timeout=5)[1]]


@click.command()
@click.argument("names", nargs=-1)
def main(names: Sequence[str]) -> None:
    """Certify the hostile backends, all or those named; exit with 1 for a wrong verdict or a process left behind."""
    failed = False
    for name in names or BANK:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            said = wrong(name, certificate(name, Path(folder)))
        said += [f"left behind: {process}" for process in left_behind()]
        failed |= bool(said)
        verdicts = sorted(set(BANK[name].verdicts.values())) or ["pass"]
        print(
            f"{name:20} {', '.join(verdicts):8} {time.monotonic() - started:6.1f} s  {'; '.join(said) or 'right'}",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
