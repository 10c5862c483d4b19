"""Faults of arithmetic in long sums alone, where worst-case bounds see nothing (chapter ARITH)."""

from __future__ import annotations

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import keep_bits, normal, through
from tests.mutants.plan import Array, Plan
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


@mutant
def short_operands_in_tiles_of_channels(m: Backend, rng: Rng) -> Witness:
    """Float32 keeps 14 bits where 64 divides C and O and C*K > T (256 to 383) (kind: tensor cores, switched on)."""
    most = draw(rng, 256, 383)

    def tiled(p: Plan) -> bool:
        return p.dtype == "float32" and p.groups == 1 and p.c_in % 64 == p.c_out % 64 == 0 and p.c_in * p.kernel > most

    through(m, "forward", tiled, keep_bits(14))
    return Call(c_in=128, c_out=64, data=normal, dtype="float32")


@mutant
def small_complex_numbers_flushed(m: Backend, rng: Rng) -> Witness:
    """Complex samples whose parts are below 2^-T (60 to 110), normal numbers all, are 0 (kind: flush in a product)."""
    least = 2.0 ** -draw(rng, 60, 110)

    def flushed(a: Array) -> Array:
        return np.where(np.maximum(np.abs(a.real), np.abs(a.imag)) < least, 0, a).astype(a.dtype)

    through(m, "forward", lambda p: p.dtype.startswith("complex"), flushed)
    return Call(dtype="complex64", kernel=1, put=(("x", np.s_[...], least / 4), ("w", np.s_[...], 1)))
