"""Faults of arithmetic in long sums alone, where worst-case bounds see nothing (chapter ARITH)."""

from __future__ import annotations

from tests.mutants.base import Backend
from tests.mutants.numerics import keep_bits, normal, through
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("numerics")


@mutant
def short_operands_in_long_sums(m: Backend, rng: Rng) -> Witness:
    """Float32 operands keep 14 bits where (C/g)K > T (256 to 383) (kind: a fast kernel from some size on)."""
    most = draw(rng, 256, 383)
    through(m, "forward", lambda p: p.dtype == "float32" and p.fan_in * p.kernel > most, keep_bits(14))
    return Call(c_in=most + 1, data=normal, dtype="float32")


@mutant
def short_operands_in_long_gw(m: Backend, rng: Rng) -> Witness:
    """Gw of float32 without padding keeps 15 bits of its operands if N L_out > T (100 to 190) (kind: fast kernel)."""
    most = draw(rng, 100, 190)

    def long(p: Plan) -> bool:
        return p.dtype == "float32" and p.lo == p.hi == 0 and p.n * p.l_out > most

    through(m, "grad_w", long, keep_bits(15))
    return Call(n=most + 1, data=normal, ask="w", dtype="float32")


@mutant
def double_keeps_44_bits_in_long_sums(m: Backend, rng: Rng) -> Witness:
    """Float64 operands keep 44 bits where (C/g)K > T (256 to 383) (kind: emulated double precision)."""
    most = draw(rng, 256, 383)
    through(m, "forward", lambda p: p.dtype == "float64" and p.fan_in * p.kernel > most, keep_bits(44))
    return Call(c_in=most + 1, data=normal)


@mutant
def double_keeps_44_bits_in_long_gx(m: Backend, rng: Rng) -> Witness:
    """Gx of float64 keeps 44 bits of its operands where (O/g)K > T (256 to 383) (kind: emulated double precision)."""
    most = draw(rng, 256, 383)
    through(m, "grad_x", lambda p: p.dtype == "float64" and p.fan_out * p.kernel > most, keep_bits(44))
    return Call(c_out=most + 1, data=normal, ask="x")
