"""A script of plain framework code for a failing call: what it computes, what is right, and 1 while they differ.

It holds the operands and the right value as literals, and judges as the suite judged: exactly, or by the bound.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conv1d_cts.adapters import scripts
from conv1d_cts.conformance.backend import Answer, Backend, Call, Flaw, Violation
from conv1d_cts.conformance.isolation.process import Died, Interpreter
from conv1d_cts.conformance.isolation.wire import dtype_of

Array = np.ndarray[Any, Any]
_LITERAL = 600  # characters; a longer operand is written as its bytes
_MOST = 2000  # characters; a still longer one is not written
_SECONDS = 60  # for a framework to load, and one call
_MODULES = ("base64", "ml_dtypes", "numpy as np")


class Unwritten(Exception):  # noqa: N818 - what became of the script
    """No script can show the fault; the message says why."""


def written(backend: Backend, problem: Violation | Died) -> dict[str, Any]:
    """For the certificate: the script of the call that the backend was asked last, or why there is none."""
    try:
        return {"reproducer": write(backend, problem)}
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


def write(backend: Backend, problem: Violation | Died) -> str:
    """The script of the call that the backend was asked last. Raises Unwritten."""
    flaw = Flaw("died") if isinstance(problem, Died) else problem.flaw
    macros = scripts.load(backend.source)
    if macros is None:
        raise Unwritten(f"no template says how a call of {backend.source.name} is written")
    if backend.last is None or flaw is None:
        raise Unwritten("one call and its result do not show the fault")
    return "\n".join(_Writer(macros, backend.device, *backend.last).lines(flaw)) + "\n"


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
            inner = _importing(self.macros.imports, [*self._operands(), f'print("answered", {self._results()})'])
            return [
                "import subprocess, sys", f'call = """{inner[0]}', *inner[1:-1], f'{inner[-1]}"""',
                f"done = subprocess.run([sys.executable, '-c', call], stdout=subprocess.PIPE, timeout={_SECONDS})",
                'raise SystemExit(b"answered" not in done.stdout and done.returncode != 1)',
            ]  # fmt: skip
        judged = self._attempt(flaw.kind) if flaw.kind in ("refused", "accepted") else self._judged(flaw)
        return _importing(self.macros.imports, [*self._operands(), *judged])

    def _operands(self) -> list[str]:
        """The template's definitions, and a literal for each array; the tangents share a line."""
        literals = {
            name: self._macro("array", _literal(array), array.dtype.name, self.device)
            for name, array in self.call.arrays.items()
            if array is not None
        }
        tangents = {name: text for name, text in literals.items() if name.endswith("_tangent")}
        lines = [f"{name} = {text}" for name, text in literals.items() if name not in tangents]
        lines += [f"{', '.join(tangents)} = {', '.join(tangents.values())}"] if tangents else []
        return [*self.macros.definitions.strip().splitlines(), *lines]

    def _attempt(self, kind: str) -> list[str]:
        """A call that must not raise, or that must."""
        if kind == "refused":
            refused = "raise SystemExit(f'refused: {refusal}'[:300])"
            return [f"try: print({self._results()})", f"except Exception as refusal: {refused}"]
        refused = "raise SystemExit(print('refused:', refusal))  # which is 0"
        accepted = "raise SystemExit('accepted, where an error is due')"
        return [f"try: print({self._results()})", f"except Exception as refusal: {refused}", accepted]

    def _judged(self, flaw: Flaw) -> list[str]:
        """The result at fault, and what must be true of it."""
        results = () if self.answer is None else self.answer.results
        position = next((i for i, result in enumerate(results) if result is flaw.got), None)
        if position is None:
            raise Unwritten("what was judged is no result of one call")
        several = self.call.program in ("vjp", "vjp_of_vjp")
        name = f"g{(*self.call.wrt, 'c')[position]}" if several else "y"
        result = self._results() + (f"[{position}]" if several else "")
        found, want, holds = self._statement(result, flaw)
        return [
            f"found = {found}",
            f'print("{name}{list(flaw.at) or ""}:", found, "where {want} is right")',
            f"raise SystemExit(not {holds})",
        ]

    def _statement(self, result: str, flaw: Flaw) -> tuple[str, str, str]:
        """What is looked at, what is right, and the expression that is true where it is."""
        want = repr(flaw.want)
        if flaw.kind == "shape":
            return f"tuple({result}.shape)", want, f"found == {want}"
        if flaw.kind == "dtype":
            return f'str({result}.dtype).strip("\'>")', flaw.want, f"found.endswith({want})"
        found = self._macro("scalar", f"{result}[{', '.join(map(str, flaw.at)) or '()'}]")
        if flaw.want != flaw.want:
            return found, want, "found != found"
        if not flaw.bound:
            return found, want, f"found == {want}"
        error = f"abs(found - {want})"
        if isinstance(flaw.want, complex):
            error = f"max(abs((found - {want}).real), abs((found - {want}).imag))"
        return found, f"{want} within {flaw.bound!r}", f"{error} <= {flaw.bound!r}"

    def _results(self) -> str:
        """The expression of what the program gives."""
        program, wrt = self.call.program, ", ".join(self.call.wrt)
        bias = "None" if self.call.arrays.get("b") is None else "b"
        call = self._macro("call", self.surface, bias, **self.call.attributes)
        if program == "conv1d":
            return call
        function = f"lambda {wrt}: {call}"
        if program == "vmap":
            for axes in reversed(self.call.axes):
                function = self._macro("vmap", function, tuple(self.call.wrt), axes)
            return f"({function})({wrt})"
        if program.endswith("of_vjp"):
            slot = self.call.wrt.index(self.call.slot)
            function = f"lambda {wrt}, c: {self._macro('vjp', function, wrt, 'c')}[{slot}]"
            wrt += ", cotangent"
        if program.startswith("vjp"):
            return self._macro("vjp", function, wrt, "cotangent" if program == "vjp" else "outer")
        return self._macro("jvp", function, wrt, ", ".join(f"{name.strip()}_tangent" for name in wrt.split(",")))

    def _macro(self, name: str, *arguments: Any, **keywords: Any) -> str:
        macro = getattr(self.macros, name, None)
        unknown = set(keywords) - set(macro.arguments) if macro else set()
        if macro is None or unknown:
            raise Unwritten(f"the template has no {name} of {', '.join(sorted(unknown)) or 'a function'}")
        return str(macro(*arguments, **keywords)).strip()


def _importing(imports: str, lines: list[str]) -> list[str]:
    """The lines after the imports that they need."""
    text = "\n".join(lines)
    used = [name for name in _MODULES if re.search(rf"\b{name.split()[-1]}\.", text)]
    named = [f"import {', '.join(used)}"] if used else []
    if re.search(r"(?<!\w\.)\b(inf|nan)\b", text):
        named.append("from math import inf, nan")
    return [*named, *imports.splitlines(), *lines]


def _literal(array: Array) -> str:
    """The values as an expression: exact in the dtype, nested lists where those are short."""
    shape = array.shape
    if not array.size:
        return f"np.zeros({shape})"
    wide = array.astype(array.dtype if array.dtype.kind in "iuc" else np.float64)
    plain = _numbers(wide.tolist())
    if len(plain) <= _LITERAL:
        return plain
    if (wide == wide.flat[0]).all():
        return f"np.full({shape}, {_numbers(wide.flat[0].item())})"
    packed = array.astype(_packing(array))
    text = base64.b85encode(packed.tobytes()).decode()
    if len(text) > _MOST:
        raise Unwritten(f"its operands are too large to print: {shape}")
    return f"np.frombuffer(base64.b85decode({text!r}), {packed.dtype.name!r}).reshape({shape})"


def _packing(array: Array) -> np.dtype[Any]:
    """The smallest dtype of NumPy's own that holds the values."""
    if (
        array.dtype.kind != "c"
        and np.isfinite(array.astype(np.float64)).all()
        and (array == array.astype(np.int8)).all()
    ):
        return np.dtype(np.int8)
    return dtype_of("float32") if array.dtype.name == "bfloat16" else array.dtype


def _numbers(value: Any) -> str:
    """Nested numbers as Python writes them, whole ones without a fraction."""
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0"
    return str(int(value)) if whole else repr(value)
