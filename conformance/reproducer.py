"""A script of plain framework code for a failing call: what it computes, what is right, and 1 while they differ.

It holds the operands and the right value as literals, and judges as the suite judged: exactly, or by the bound. A fault
that shows between several calls has a script that makes them all, in their order.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from conv1d_cts.adapters import scripts
from conv1d_cts.conformance import script_calls
from conv1d_cts.conformance.backend import Answer, Backend, Call, Flaw, Last, Violation
from conv1d_cts.conformance.isolation.arrange import arrange, in_memory
from conv1d_cts.conformance.isolation.process import Died, Interpreter
from conv1d_cts.conformance.script_literals import Unwritten, literal

Array = np.ndarray[Any, Any]
_LINES = 16  # of a script
_SECONDS = 60  # for a framework to load, and one call
_MODULES = ("base64", "contextlib", "ml_dtypes", "numpy as np")


def written(backend: Backend, last: Last | None, problem: Violation | Died) -> dict[str, Any]:
    """For the certificate: the script of the last calls before the problem, or why there is none."""
    try:
        return {"reproducer": write(backend, last, problem)}
    except Unwritten as reason:
        return {"no reproducer": str(reason)}


def tried(evidence: dict[str, Any], interpreter: Interpreter) -> dict[str, Any]:
    """The evidence with whether its script, where it has one and the interpreter is on this host, shows the fault."""
    if "reproducer" not in evidence or interpreter.host:
        return evidence
    return evidence | {"reproduces": shows(evidence["reproducer"], interpreter.python)}


def shows(script: str, python: str) -> bool:
    """Whether the script, in a fresh process of that interpreter, ends with 1, and not by a mistake of its own."""
    with tempfile.TemporaryDirectory(prefix="conv1d-cts-") as folder:
        path = Path(folder) / "reproducer.py"
        path.write_text(script, encoding="utf-8")
        try:
            run = subprocess.run([python, path], cwd=folder, capture_output=True, timeout=2 * _SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
    mistaken = b"Traceback" in run.stderr and b"TimeoutExpired" not in run.stderr  # as a call that hangs ends
    return run.returncode == 1 and not mistaken


def write(backend: Backend, last: Last | None, problem: Violation | Died) -> str:
    """The script of the last calls before the problem. Raises Unwritten."""
    flaw = Flaw("lost" if problem.lost else "died") if isinstance(problem, Died) else problem.flaw
    macros = scripts.load(backend.source)
    if macros is None:
        raise Unwritten(f"no template says how a call of {backend.source.name} is written")
    if last is None or flaw is None:
        raise Unwritten("one call and its result do not show the fault")
    surface, calls, answers = last
    given = [answer if isinstance(answer, Answer) else None for answer in answers] or [None] * len(calls)
    writers = [_Writer(macros, backend.device, surface, *one) for one in zip(calls, given, strict=True)]
    lines = writers[0].lines(flaw) if len(writers) == 1 else _Sequence(writers).lines(flaw)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Writer:
    """One call in the words of a backend's macros."""

    macros: Any
    device: str
    surface: str
    call: Call
    answer: Answer | None

    def lines(self, flaw: Flaw) -> list[str]:
        """The script for a flaw of any kind."""
        if flaw.kind == "died":
            return _survived(_importing(self.macros.imports, [*self._operands(), _computed([self.results()])]))
        if flaw.kind == "lost":
            judged = self._afterwards()
        elif flaw.kind in ("shared", "changed"):
            judged = self._memory(flaw)
        elif flaw.kind in ("refused", "accepted"):
            judged = self._attempt(flaw.kind)
        else:
            judged = self._judged(flaw)
        return _within([_importing(self.macros.imports, [*self._operands(), *judged])])

    def literals(self) -> dict[str, str]:
        """The expression of each array."""
        return {name: self._array(name, array) for name, array in self.call.arrays.items() if array is not None}

    def _array(self, name: str, array: Array) -> str:
        """The expression of an array, laid out as the call has it where the framework has strides."""
        layout = self.call.layouts.get(name, self.call.layout)
        laid_out = in_memory(arrange(array, layout)) if hasattr(self.macros, "strided") else None
        elements, steps = laid_out or (array, ())
        text = self._macro("array", literal(elements), array.dtype.name, self.device)
        return self._macro("strided", text, array.shape, steps) if laid_out else text

    def _operands(self) -> list[str]:
        """The template's definitions, and a literal for each array; tangents share a line, and so do further sets."""
        lines: dict[str, dict[str, str]] = {}
        for name, text in self.literals().items():
            shared = "tangents" if name.endswith("_tangent") else re.sub(r"^[a-z]+(?=\d)", "set", name)
            lines.setdefault(shared, {})[name] = text
        given = [f"{', '.join(line)} = {', '.join(line.values())}" for line in lines.values()]
        return [*_defined(self.macros, self.surface, self.call.program), *given]

    def _afterwards(self) -> list[str]:
        """The call, whatever comes of it, and an operand's way to the device once more, which must work."""
        return [
            f"with contextlib.suppress(Exception): print({self.results()})",
            f"try: print({min(self.literals().values(), key=len)})",
            "except Exception as fault: raise SystemExit(f'and the device is lost: {fault}'[:300])",
        ]

    def _attempt(self, kind: str) -> list[str]:
        """A call that must not raise, or that must."""
        if kind == "refused":
            refused = "raise SystemExit(f'refused: {refusal}'[:300])"
            return [f"try: print({self.results()})", f"except Exception as refusal: {refused}"]
        refused = "raise SystemExit(print('refused:', refusal))  # which is 0"
        accepted = "raise SystemExit('accepted, where an error is due')"
        return [f"try: print({self.results()})", f"except Exception as refusal: {refused}", accepted]

    def _memory(self, flaw: Flaw) -> list[str]:
        """The operands named that share memory with a result, or that the call changed: there must be none."""
        results = self.results() if script_calls.names(self.call) else f"[{self.results()}]"
        if flaw.kind == "shared":
            given = ", ".join(f"{name!r}: {name}" for name in flaw.want)
            result, operand = self._numpy("result"), self._numpy("given[name]")
            fault = f"any(np.shares_memory({result}, {operand}) for result in results)"
            told = "a result shares memory with"
        else:
            given = ", ".join(f"{name!r}: ({name}, {self._numpy(name)}.copy())" for name in flaw.want)
            fault = f"{self._numpy('given[name][0]')}.tobytes() != given[name][1].tobytes()"
            told = "the call changed"
        return [
            f"given = {{{given}}}",
            f"results = {results}",
            f"found = [name for name in given if {fault}]",
            f'print("{told}:", found, "where [] is right")',
            "raise SystemExit(bool(found))",
        ]

    def _judged(self, flaw: Flaw) -> list[str]:
        """The result at fault, and what must be true of it."""
        position = self.position(flaw.got)
        if position is None or flaw.kind == "bits":
            raise Unwritten("what was judged is no result of one call")
        name, result = self.result(position, self.results())
        found, want, holds = self.statement(result, flaw)
        return [
            f"found = {found}",
            f'print("{name}{list(flaw.at) or ""}:", found, "where {want} is right")',
            f"raise SystemExit(not {holds})",
        ]

    def position(self, array: Any, later: bool = False) -> int | None:
        """Which result of the call, when it came or read again later, the array is; without data there is one."""
        if self.call.program == "eval_shape":
            return 0
        results = () if self.answer is None else self.answer.later if later else self.answer.results
        return next((i for i, result in enumerate(results) if result is array), None)

    def result(self, position: int, results: str) -> tuple[str, str]:
        """The name of a result and its expression, where `results` is that of all of them."""
        names = script_calls.names(self.call)
        return (names[position], f"{results}[{position}]") if names else ("y", results)

    def element(self, result: str, at: tuple[int, ...]) -> str:
        """The expression of an element as a number of Python."""
        return self._macro("scalar", f"{result}[{', '.join(map(str, at)) or '()'}]")

    def statement(self, result: str, flaw: Flaw) -> tuple[str, str, str]:
        """What is looked at, what is right, and the expression that is true where it is."""
        want = repr(flaw.want)
        if flaw.kind == "shape":
            return f"tuple({result}.shape)", want, f"found == {want}"
        if flaw.kind == "dtype":
            own = hasattr(self.macros, "dtype")
            found = self._macro("dtype", result) if own else f'str({result}.dtype).strip("\'>")'
            return found, flaw.want, f"found.endswith({want})"
        found = self.element(result, flaw.at)
        if flaw.want != flaw.want:
            return found, want, "found != found"
        if not flaw.bound:
            return found, want, f"found == {want}"
        error = f"abs(found - {want})"
        if isinstance(flaw.want, complex):
            error = f"max(abs((found - {want}).real), abs((found - {want}).imag))"
        return found, f"{want} within {flaw.bound!r}", f"{error} <= {flaw.bound!r}"

    def results(self) -> str:
        """The expression of what the program gives."""
        return script_calls.results(self.macros, self.surface, self.call)

    def _numpy(self, operand: str) -> str:
        """The expression of an operand as an array of NumPy's: by the framework's own method where it needs one."""
        return self._macro("numpy", operand) if hasattr(self.macros, "numpy") else f"np.asarray({operand})"

    def _macro(self, name: str, *arguments: Any) -> str:
        return script_calls.expand(self.macros, name, *arguments)


@dataclass(frozen=True)
class _Sequence:
    """Calls one after another, each on its own operands, as lines of one script."""

    writers: list[_Writer]

    def lines(self, flaw: Flaw) -> list[str]:
        """The script for a flaw in one result, or between two of them."""
        macros = self.writers[0].macros
        functions: dict[str, str] = {}
        calls = [self._call(number, functions) for number in range(len(self.writers))]
        defined = [*_defined(macros, self.writers[0].surface, self.writers[0].call.program), *functions]
        if flaw.kind == "lost":
            raise Unwritten("several calls were made before the device was asked again")
        if flaw.kind == "died":
            answered = _computed(f"r{number}" for number, made in enumerate(calls) if len(made) == 1)
            return _within(
                _survived(_importing(macros.imports, [*defined, *made, answered]))
                for made in (chain(*calls), _joined(calls))
            )
        looked, last = self._looked_at(flaw)
        for number, line in looked:
            calls[number].append(line)
        calls = calls[: last + 1]
        return _within(
            _importing(macros.imports, [*defined, *made, *self._verdict(flaw)])
            for made in (chain(*calls), _joined(calls))
        )

    def _call(self, number: int, functions: dict[str, str]) -> list[str]:
        """A line that makes the call; one that was refused may be. Its function is shared with calls of its kind."""
        writer = self.writers[number]
        names, literals = ", ".join(writer.call.arrays), writer.literals()
        body = f"({names}): return {writer.results()}"
        name = next((name for line, name in functions.items() if line.endswith(body)), f"f{len(functions)}")
        functions.setdefault(f"def {name}{body}", name)
        call = f"{name}({', '.join(literals.get(name, 'None') for name in writer.call.arrays)})"
        if writer.answer is None and any(other.answer for other in self.writers):
            return [f"try: {call}", "except Exception: pass"]
        return [f"r{number} = {call}"]

    def _looked_at(self, flaw: Flaw) -> tuple[list[tuple[int, str]], int]:
        """After which calls what is kept, as numbered lines, and the last call that the fault needs."""
        place, read_again = self._place(flaw.got)
        number, result = place
        writer = self.writers[number]
        last = len(self.writers) - 1 if read_again else number
        if flaw.kind != "bits":
            return [(last, f"found = {writer.statement(result, flaw)[0]}")], last
        (first, before), _ = self._place(flaw.want)
        kept = f"before = {self.writers[first].element(before, flaw.at)}"
        return [(first, kept), (last, f"found = {writer.element(result, flaw.at)}")], last

    def _place(self, array: Any) -> tuple[tuple[int, str], bool]:
        """The number of the call and the expression of its result, and whether it was read again after the last."""
        for later in (False, True) if array is not None else ():
            for number, writer in enumerate(self.writers):
                position = writer.position(array, later)
                if position is not None:
                    return (number, writer.result(position, f"r{number}")[1]), later
        raise Unwritten("what was judged is no result of these calls")

    def _verdict(self, flaw: Flaw) -> list[str]:
        if flaw.kind == "bits":
            return ['print("it was", before, "and is", found)', "raise SystemExit(repr(found) != repr(before))"]
        _, want, holds = self.writers[0].statement("", flaw)
        return [f'print("found", found, "where {want} is right")', f"raise SystemExit(not {holds})"]


def _defined(macros: Any, surface: str, program: str) -> list[str]:
    """The template's definitions, what it sets for a surface, and what the calls of a program need."""
    settings = str(macros.settings(surface)) if hasattr(macros, "settings") else ""
    texts = (macros.definitions, settings)
    return [*(line for text in texts for line in text.strip().splitlines()), *script_calls.definitions(macros, program)]


def _computed(results: Iterable[str]) -> str:
    """A line that says so once all results are there: a lazy framework computes what is shown."""
    return f'print({", ".join(f"repr({result})" for result in results)}, "answered")'


def _survived(inner: list[str]) -> list[str]:
    """The lines in a process of their own, for they may end it."""
    return [
        "import subprocess, sys", f'call = """{inner[0]}', *inner[1:-1], f'{inner[-1]}"""',
        f"done = subprocess.run([sys.executable, '-c', call], stdout=subprocess.PIPE, timeout={_SECONDS})",
        'raise SystemExit(b"answered" not in done.stdout and done.returncode != 1)',
    ]  # fmt: skip


def _joined(calls: list[list[str]]) -> list[str]:
    """The same with one line for calls in a row after which nothing is looked at."""
    lines: list[str] = []
    for plain, row in groupby(calls, lambda call: len(call) == 1):
        if plain:
            names, values = zip(*(call[0].split(" = ", 1) for call in row), strict=True)
            lines.append(f"{', '.join(names)} = {', '.join(values)}")
        else:
            lines += chain(*row)
    return lines


def _within(versions: Iterable[list[str]]) -> list[str]:
    """The first that is short enough. Raises Unwritten."""
    for lines in versions:
        if len(lines) <= _LINES:
            return lines
    raise Unwritten(f"its calls take {len(lines)} lines, and a script has {_LINES} at most")


def _importing(imports: str, lines: list[str]) -> list[str]:
    """The lines after the imports that they need."""
    text = "\n".join(lines)
    used = [name for name in _MODULES if re.search(rf"\b{name.split()[-1]}\.", text)]
    named = [f"import {', '.join(used)}"] if used else []
    if re.search(r"(?<!\w\.)\b(inf|nan)\b", text):
        named.append("from math import inf, nan")
    return [*named, *imports.splitlines(), *lines]
