"""What each program gives, as an expression on the named operands, in the words of a backend's macros.

The expression makes the calls that `conformance.isolation.programs` makes. That of one result is the result itself, and
that of several a list of them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count, takewhile
from typing import Any

from conv1d_cts.conformance.backend import Call
from conv1d_cts.conformance.script_literals import Unwritten

# Of each operand, and of the cotangent.
_GRADIENTS = ("vjp", "vjp_of_vjp", "mapped_vjp", "vjp_of_vmap", "vjp_of_each", "accumulated")
_BY_SET = ("compiled", "compiled_vjp", "vjp_of_compiled", "vjp_of_sum")  # a result, or results, of each set of operands


def expand(macros: Any, name: str, *arguments: Any, **keywords: Any) -> str:
    """What a macro gives. Raises Unwritten where there is none of these keywords."""
    macro = getattr(macros, name, None)
    unknown = set(keywords) - set(macro.arguments) if macro else set()
    if macro is None or unknown:
        raise Unwritten(f"the template has no {name} of {', '.join(sorted(unknown)) or 'a function'}")
    return str(macro(*arguments, **keywords)).strip()


def names(call: Call) -> list[str]:
    """The name of each result of a program that gives several; none of one that gives y alone."""
    if call.program in _GRADIENTS:
        return [f"g{name}" for name in (*call.wrt, "c")]
    if call.program in _BY_SET:
        each = {"compiled": ["y"], "vjp_of_compiled": ["gw"]}.get(call.program, [f"g{name}" for name in call.wrt])
        return [f"{name} of call {number}" for number in range(1, len(_marks(call)) + 1) for name in each]
    if call.program in ("each", "compiled_each"):
        return [f"y of call {number}" for number in range(1, len(call.others) + 2)]
    return []


def definitions(macros: Any, program: str) -> list[str]:
    """The lines that the expression of a program needs before it. Raises Unwritten."""
    if program == "accumulated" and not hasattr(macros, "gathering"):
        raise Unwritten("the template has no gathering of gradients")
    gathers = program in ("accumulated", "vjp_of_compiled")
    needs = {"gathering": gathers, "pulling": "vjp" in program, "pushing": "jvp" in program}
    texts = [str(getattr(macros, name, "")) for name, needed in needs.items() if needed]
    return [line for text in texts for line in text.strip().splitlines()]


def results(macros: Any, surface: str, call: Call) -> str:
    """The expression of what the program gives. Raises Unwritten."""
    program, wrt = call.program, ", ".join(call.wrt)
    one = _operator(macros, surface, call)
    if program == "conv1d":
        return one
    function = f"lambda {wrt}: {one}"
    asked = call.slot if program == "mapped_vjp" and call.slot else wrt
    gradients = f"lambda {wrt}, c: {_vjp(macros, f'lambda {asked}: {one}', asked, 'c')}" if "vjp" in program else ""
    if program == "eval_shape":
        return expand(macros, "eval_shape", function, wrt)
    if "map" in program:
        return _of_a_map(macros, call, function, gradients)
    if program == "vjp":
        return _vjp(macros, function, wrt, "cotangent")
    if program.endswith("each"):
        return _of_each(macros, surface, call)
    if program == "vjp_of_sum":
        sets = [", ".join(f"{name}{mark}" for name in call.wrt) for mark in _marks(call)]
        total = " + ".join(f"f({operands})" for operands in sets)
        everything = ", ".join(sets)
        return _vjp(macros, f"lambda {everything}, f={function}: {total}", everything, "cotangent")
    if program == "jvp":
        return _jvp(macros, function, wrt)
    if program in ("vjp_of_vjp", "jvp_of_vjp"):
        gradient, primals = f"{gradients}[{call.wrt.index(call.slot)}]", f"{wrt}, cotangent"
        return _vjp(macros, gradient, primals, "outer") if program[0] == "v" else _jvp(macros, gradient, primals)
    if program == "accumulated":
        passes = ", ".join(f"({_pass(call, one, mark)}, cotangent{mark})" for mark in _marks(call, "cotangent"))
        return f"gathered([{passes}], {wrt})"
    if program == "compiled":
        return f"list(map({expand(macros, 'compiled', function)}, {_sets(call, *call.wrt)}))"
    if program == "compiled_vjp":
        each = f"map({expand(macros, 'compiled', gradients)}, {_sets(call, *call.wrt, 'cotangent')})"
        return f"[gradient for gradients in {each} for gradient in gradients]"
    if program == "vjp_of_compiled":
        given = wrt if "w" in call.arrays else wrt.replace("x", "w")
        compiled = expand(macros, "compiled", function)
        of_w = f"lambda {wrt}, c, f={compiled}: {_trained(macros, f'lambda w: f({given})')}[0]"
        return f"list(map({of_w}, {_sets(call, *call.wrt, 'cotangent')}))"
    raise Unwritten(f"a script has no calls of the kind {program}")


def _of_a_map(macros: Any, call: Call, function: str, gradients: str) -> str:
    """What a program gives that maps conv1d or its derivatives, of the function that is mapped and of its gradients."""
    program, wrt = call.program, ", ".join(call.wrt)
    if program == "mapped_vjp":
        return f"({_mapped(macros, call, gradients, (*call.wrt, 'c'))})({wrt}, cotangent)"
    if program == "vmap_of_jvp":
        tangents = [f"{name}_tangent" for name in call.wrt]
        of_both = f"lambda {wrt}, {', '.join(tangents)}: {_jvp(macros, function, wrt)}"
        return f"({_mapped(macros, call, of_both, (*call.wrt, *tangents))})({wrt}, {', '.join(tangents)})"
    if program == "vmap_of_compiled":
        function = expand(macros, "compiled", function)
    mapped = f"({_mapped(macros, call, function, call.wrt)})"
    if program == "compiled_vmap":
        mapped = expand(macros, "compiled", mapped)
    if program == "jvp_of_vmap":
        return _jvp(macros, mapped, wrt)
    return _vjp(macros, mapped, wrt, "cotangent") if program == "vjp_of_vmap" else f"{mapped}({wrt})"


def _of_each(macros: Any, surface: str, call: Call) -> str:
    """What a program gives that makes several calls on the same arrays."""
    calls = [_operator(macros, surface, replace(call, attributes=one)) for one in (call.attributes, *call.others)]
    wrt, all_of_them = ", ".join(call.wrt), f"({', '.join(calls)})"
    if call.program == "vjp_of_each":
        return _vjp(macros, f"lambda {wrt}: {' + '.join(calls)}", wrt, "cotangent")
    if call.program == "each":
        return all_of_them
    return f"{expand(macros, 'compiled', f'lambda {wrt}: {all_of_them}')}({wrt})"


def _operator(macros: Any, surface: str, call: Call) -> str:
    """The operator on x, w and b; where there is no w, x is both."""
    bias = "None" if call.arrays.get("b") is None else "b"
    one = expand(macros, "call", surface, bias, **call.attributes)
    return one if "w" in (*call.arrays, *call.wrt) else f"(lambda w: {one})(x)"


def _vjp(macros: Any, function: str, primals: str, cotangent: str) -> str:
    return expand(macros, "vjp", function, primals, cotangent)


def _trained(macros: Any, function: str) -> str:
    """The gradient in w by a backward pass where the backend has one, and by vjp else; in a list."""
    return f"gathered([({function}, c)], w)" if hasattr(macros, "gathering") else _vjp(macros, function, "w", "c")


def _jvp(macros: Any, function: str, primals: str) -> str:
    tangents = ", ".join(f"{name}_tangent" for name in primals.split(", "))
    return expand(macros, "jvp", function, primals, tangents)


def _mapped(macros: Any, call: Call, function: str, mapped: Any) -> str:
    """The function mapped once for each level of the call's axes."""
    for axes in reversed(call.axes):
        function = expand(macros, "vmap", function, tuple(mapped), axes)
    return function


def _marks(call: Call, name: str = "x") -> list[str]:
    """What the names of each set of operands end with: nothing, 1, 2, ..."""
    return ["", *(str(number) for number in takewhile(lambda number: f"{name}{number}" in call.arrays, count(1)))]


def _sets(call: Call, *operands: str) -> str:
    """Of each operand those of all sets, as `map` takes them."""
    marks, given = _marks(call), [name if name in call.arrays else "x" for name in operands]
    return ", ".join(f"[{', '.join(f'{name}{mark}' for mark in marks)}]" for name in given)


def _pass(call: Call, one: str, mark: str) -> str:
    """A backward pass's function: what is no operand of it is another constant in each."""
    own = [f"{name}={name}{mark}" for name in "xwb" if mark and call.arrays.get(f"{name}{mark}") is not None]
    return f"lambda {', '.join([*call.wrt, *own])}: {one}"
