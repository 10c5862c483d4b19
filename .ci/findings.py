"""Print what certificates say of unexpected failures: the clause, the case, the script, and what the script does."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

_TOLD = ("message", "case", "expected", "got", "confirmed", "reproducer")
_FAILURES = ("crash", "hang", "exit", "fail")
_PATIENCE = 300  # seconds


def _run(script: str, python: str) -> str:
    """How plain framework code ends in a fresh process: 1 says that the fault shows without the suite."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "reproducer.py").write_text(script, encoding="utf-8")
        try:
            done = subprocess.run(
                [python, "reproducer.py"], cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no end after {_PATIENCE} s"
    return f"exit code {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}"


def main(folder: str) -> None:
    """Every failed row of the certificates in a folder that `tox` wrote, whose environments are beside it."""
    for path in sorted(Path(folder).glob("*-cpu.json")):
        certificate = json.loads(path.read_text(encoding="utf-8"))
        backend = certificate["backend"]
        interpreter = Path(f".tox/{backend['name']}/bin/python").absolute()
        failed = [row for row in certificate["clauses"] if row["verdict"] in _FAILURES]
        print(f"{path.name}: {certificate['verdict']}, {len(failed)} unexpected", backend["device_facts"])
        for row in failed:
            evidence = row["evidence"]
            print(f"\n{row['id']} ({row['level']}) on {row['surface']}: {row['verdict']}")
            print(*(f"{name}: {evidence[name]}" for name in _TOLD if evidence.get(name)), sep="\n")
            if evidence.get("reproducer"):
                print("script:", _run(evidence["reproducer"], str(interpreter)))


if __name__ == "__main__":
    main(sys.argv[1])
