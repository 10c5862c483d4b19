"""The fingerprints of a backend as rows of its certificate, each with one sentence in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conv1d_cts.conformance.arithmetic.classes import FAIL, NORM_WISE, ORDER, UNKNOWN
from conv1d_cts.conformance.arithmetic.facts import Facts
from conv1d_cts.conformance.arithmetic.fingerprint import Fingerprint, Observation, is_integer
from conv1d_cts.conformance.arithmetic.moments import Moment

Row = dict[str, Any]


def rows(found: Mapping[tuple[str, str], Sequence[Fingerprint]], switches: Mapping[str, str]) -> list[Row]:
    """A row for each surface and dtype, from the fingerprints of its results and of its gradients."""
    return [
        _row(surface, dtype, [o for part in parts for o in part.observations], switches.get(dtype, ""))
        for (surface, dtype), parts in found.items()
    ]


def _row(surface: str, dtype: str, observations: Sequence[Observation], switch: str) -> Row:
    name = Fingerprint(dtype, tuple(observations)).name
    row: Row = {
        "surface": surface,
        "dtype": dtype,
        "class": name,
        "text": sentence(dtype, observations),
        "quantities": [_quantity(own) for own in _by_quantity(observations)],
    }
    return row | ({"switch": switch} if switch else {})


def _by_quantity(observations: Iterable[Observation]) -> list[list[Observation]]:
    quantities: dict[str, list[Observation]] = {}
    for observation in observations:
        quantities.setdefault(observation.facts.quantity, []).append(observation)
    return list(quantities.values())


def _quantity(own: Sequence[Observation]) -> Row:
    worst = max(own, key=lambda o: -1 if o.name == UNKNOWN else ORDER.index(o.name))
    row: Row = {
        "quantity": own[0].facts.quantity,
        "class": worst.name,
        "products": [o.facts.n for o in own],
        "facts": {name: _fact([o.facts for o in own], name) for name in _names(own)},
    }
    if worst.why:
        row["why"] = worst.why
    moments = [_moment(o.facts.n, o.moment) for o in own if o.moment is not None]
    return row | ({"random signs": moments} if moments else {})


def _names(own: Sequence[Observation]) -> list[str]:
    return sorted({name for o in own for name in o.facts.found})


def _fact(all_facts: Sequence[Facts], name: str) -> str:
    """The fact at each size, once where all sizes agree: `24 (2^50 + 2^26 - 2^50 = 0.0)`."""
    told = {f.n: f"{_value(f, name)} ({f.found[name].evidence})" for f in all_facts if name in f.found}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{n} products: {text}" for n, text in told.items())


def _value(facts: Facts, name: str) -> str:
    value = facts.value(name)
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _moment(n: int, found: Moment) -> str:
    return (
        f"{n} products: mean square {found.mean_square:.1e} of at most {found.limit:.1e},"
        f" largest {found.largest:.1e} of at most {found.largest_limit:.1e}"
    )


def sentence(dtype: str, observations: Sequence[Observation]) -> str:
    """`float32 conv1d computed in TF32: 11-bit operands (10 stored), 24-bit sums`; the loosest part first."""
    parts: dict[str, list[Observation]] = {}
    for own in _by_quantity(observations):
        name = max((o.name for o in own if o.name != UNKNOWN), key=ORDER.index, default=UNKNOWN)
        parts.setdefault(name, []).extend(own)
    order = sorted(parts, key=lambda name: -1 if name == UNKNOWN else len(ORDER) - ORDER.index(name))
    if len(parts) == 1:
        rest = "" if is_integer(dtype) or len({o.facts.quantity for o in observations}) > 1 else "; no gradients probed"
        return f"{dtype} conv1d {_words(dtype, order[0], parts[order[0]])}{rest}"
    told = (f"{_quantities(parts[name])} {_words(dtype, name, parts[name])}" for name in order)
    return f"{dtype} conv1d: {'; '.join(told)}"


def _quantities(own: Sequence[Observation]) -> str:
    return ", ".join(dict.fromkeys(o.facts.quantity for o in own))


def _least(own: Sequence[Observation], *names: str) -> str:
    """The fewest bits found, `?` where none were."""
    values = [v for o in own for name in names if (v := o.facts.number(name)) is not None]
    return f"{min(values):g}" if values else "?"


def _words(dtype: str, name: str, own: Sequence[Observation]) -> str:
    own = [o for o in own if o.name == name] or own
    operands = _least(own, "left operand bits", "right operand bits")
    sums = f"{_least(own, 'sum bits')}-bit sums"
    kept = f"{operands}-bit operands, {sums}"
    if is_integer(dtype) and name != FAIL:
        return f"computed {own[0].facts.value('integers')}"
    return {
        "ieee": f"computed in IEEE arithmetic: {kept}, rounded to nearest",
        "ieee-fp32-accumulate": f"accumulated in float32 or wider and rounded once: {kept}",
        "storage-accumulate": f"accumulated in {dtype} itself: {kept}, {_sum_rounding(own)}",
        "bf16x3": f"computed in pieces of bfloat16: {kept}",
        "tf32": f"computed in TF32: {operands}-bit operands (10 of them stored), {sums}",
        "bf16": f"computed in bfloat16: {kept}",
        NORM_WISE: "computed by a transform (Winograd's, Fourier's): errors scale with the largest operands",
        UNKNOWN: f"computed in ways unknown: {own[0].why}",
        FAIL: f"computed in no class of the specification: {own[0].why}",
    }[name]


def _sum_rounding(own: Sequence[Observation]) -> str:
    ways = {str(v) for o in own if (v := o.facts.value("sum rounding")) is not None}
    told = sorted("rounded to nearest" if way == "nearest" else way for way in ways)
    return " and ".join(told) or "rounded in ways unknown"
