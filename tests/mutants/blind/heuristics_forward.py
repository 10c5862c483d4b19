"""Faults of kernels chosen by heuristics: kernels of the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Probe, Witness

mutant = chapter("operator")
Kernel = Callable[..., Array]


def regroup(inner: Kernel, x: Array, w: Array, p: Plan, chosen: Array) -> Array:
    """Compute output o from the input channels of group chosen[o]."""
    blocks = x.reshape(p.n, p.groups, p.fan_in, p.padded)[:, chosen]
    wide = replace(p, c_in=p.c_out * p.fan_in, groups=p.c_out)
    return inner(blocks.reshape(p.n, p.c_out * p.fan_in, p.padded), w, wide)


def without(w: Array, index: Any) -> Array:
    """Return w with zeros at the index."""
    w = w.copy()
    w[index] = 0
    return w


@mutant
def vector_tail_of_all_but_one(m: Backend, rng: Rng) -> Witness:
    """float32, s = 1: where L_out mod V = V-1, past two vectors, the last output lacks the last tap (kind: tail)."""
    width = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype == "float32" and p.stride == 1 < p.kernel and p.l_out > 2 * width and p.l_out % width == width - 1:
            y[..., -1] = inner(x, without(w, np.s_[..., -1]), p)[..., -1]
        return y

    return Call(length=3 * width - 1 + 2, dtype="float32")


@mutant
def im2col_last_chunk_unstrided(m: Backend, rng: Rng) -> Witness:
    """S > 1 and C/g*K*L_out above T: the last, partial chunk of columns starts at i, not i*s (kind: im2col chunks)."""
    room = pick(rng, (2**13, 2**14, 2**15))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        rows = p.fan_in * p.kernel
        if p.stride > 1 and p.l_out and room >= rows and rows * p.l_out > room:
            start = p.l_out // (room // rows) * (room // rows)
            y[..., start:] = inner(np.roll(x, start * (p.stride - 1), axis=2), w, p)[..., start:]
        return y

    channels = draw(rng, 8, 12)
    return Call(c_in=channels, length=2 * (room // (3 * channels) + 9), stride=2)


@mutant
def winograd_spreads_specials(m: Backend, rng: Rng) -> Witness:
    """float32, K = 3, s = d = g = 1, C, O >= T: NaN or inf spreads over a tile of 4 (kind: Winograd F(4,3))."""
    least = pick(rng, (8, 16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        fits = p.kernel == 3 and p.stride == p.dilation == p.groups == 1 and min(p.c_in, p.c_out) >= least
        if fits and p.dtype == "float32" and not np.isfinite(x).all():
            special = ~np.isfinite(x).all(axis=1)
            for start in range(0, p.l_out, 4):
                y[special[:, start + 1 : start + 5].any(axis=1), :, start : start + 4] = np.nan
        return y

    return Call(c_in=least, c_out=least, length=14, dtype="float32", put=(("x", (0, 1, 4), np.nan),))


@mutant
def fft_for_long_kernels(m: Backend, rng: Rng) -> Witness:
    """float32, s = d = g = 1, K from T on, L_out >= K: FFT in float64; small beside huge drowns (kind: FFT)."""
    least = pick(rng, (48, 64, 128))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        plain = p.stride == p.dilation == p.groups == 1 and p.dtype == "float32"
        if not (plain and p.l_out >= p.kernel >= least):
            return inner(x, w, p)
        spectrum = np.conj(np.fft.rfft(w.astype(np.float64), p.padded))
        product = np.einsum("ncf,ocf->nof", np.fft.rfft(x.astype(np.float64)), spectrum)
        return np.fft.irfft(product, p.padded)[..., : p.l_out].astype(np.float32)

    return Call(length=3 * least, kernel=least, dtype="float32", put=(("x", (0, 0, 0), 1e30), ("x", (0, 0, 1), -1e30)))


@mutant
def depthwise_multiplier_by_shift(m: Backend, rng: Rng) -> Witness:
    """Depthwise, C a multiple of V: channel = o >> log2(m), wrong where m is no power of two (kind: fast division)."""
    width = pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not p.depthwise or p.c_in % width or not p.fan_out & (p.fan_out - 1):
            return inner(x, w, p)
        shift = p.fan_out.bit_length() - 1
        return regroup(inner, x, w, p, np.minimum(np.arange(p.c_out) >> shift, p.c_in - 1))

    return Call(c_in=width, c_out=3 * width, groups=width)


@mutant
def depthwise_unrolled_by_four(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s = d = 1, K above T and K mod 4 = 3: the last tap is lost (kind: unrolled loop's remainder)."""
    above = pick(rng, (8, 12, 16, 24))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        long = p.depthwise and p.stride == p.dilation == 1 and p.kernel > above and p.kernel % 4 == 3
        return inner(x, without(w, np.s_[..., -1]) if long else w, p)

    return Call(c_in=3, c_out=3, groups=3, length=above + 12, kernel=above + 3)


@mutant
def last_batch_chunk_from_wrong_item(m: Backend, rng: Rng) -> Witness:
    """G > 1, N above T, no multiple: the last chunk starts at N//T * (N mod T), not * T (kind: batch chunks)."""
    chunk = pick(rng, (24, 32, 48, 64))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        rest = p.n % chunk
        if p.groups > 1 and p.n > chunk and rest:
            wrong = p.n // chunk * rest
            y[p.n - rest :] = y[wrong : wrong + rest].copy()
        return y

    return Call(n=chunk + draw(rng, 1, 9), c_in=2, c_out=2, groups=2)


@mutant
def gemv_groups_by_inputs(m: Backend, rng: Rng) -> Witness:
    """N = L_out = 1, g > 1: the group of output o is o div (C/g), not o div (O/g) (kind: matrix-vector shortcut)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.n * p.l_out != 1 or p.groups == 1 or not p.fan_in * p.fan_out:
            return inner(x, w, p)
        return regroup(inner, x, w, p, np.minimum(np.arange(p.c_out) // p.fan_in, p.groups - 1))

    return Call(c_in=6, c_out=3 * draw(rng, 3, 5), groups=3, length=3)


@mutant
def constant_memory_holds_t_weights(m: Backend, rng: Rng) -> Witness:
    """G > 1: elements of w from the T-th on read as 0 (kind: weights copied to constant memory of 64 KiB)."""
    room = pick(rng, (2048, 4096, 8192, 16384))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > 1 and w.size > room:
            w = np.concatenate([w.ravel()[:room], np.zeros(w.size - room, w.dtype)]).reshape(w.shape)
        return inner(x, w, p)

    return Call(c_in=64, c_out=2 * room // 64, groups=2, length=4)


@mutant
def shared_tile_too_short(m: Backend, rng: Rng) -> Witness:
    """K <= 8, d = 1: in a tile of 32 outputs, taps past its first T samples read 0 (kind: shared memory and stride)."""
    room = pick(rng, (512, 1024, 2048))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel > 8 or p.dilation > 1 or (min(p.l_out, 32) - 1) * p.stride + p.span <= room:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for k, (matrix, columns) in enumerate(zip(split_w(w, p), taps(x, p), strict=True)):
            held = np.arange(p.l_out) % 32 * p.stride + k < room
            y += matrix @ np.where(held, columns, columns.dtype.type(0))
        return y.reshape(p.y_shape).astype(x.dtype)

    stride = room // 31 + draw(rng, 1, 4)
    return Call(length=40 * stride, stride=stride)


@mutant
def packed_weights_checked_at_their_ends(m: Backend, rng: Rng) -> Witness:
    """G = 1, K > 1: packed w are used again for the same array while its first and last element stay (kind: cache)."""
    cache: list[Array] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > 1 or p.kernel == 1 or not w.size:
            return inner(x, w, p)
        ends = np.s_[[0, -1], [0, -1], [0, -1]]
        if not (cache and cache[0] is w and w[ends].tobytes() == cache[1][ends].tobytes()):
            cache[:] = [w, w.copy()]
        return inner(x, cache[1], p)

    def probe(tap: int) -> Probe:
        def changed(backend: Backend) -> Any:
            x, w = np.arange(1.0, 13).reshape(1, 1, 12), np.ones((1, 1, 6))
            backend.conv1d(x, w, None)
            w[0, 0, tap] = 5
            return backend.conv1d(x, w, None)

        return changed

    return probe(draw(rng, 1, 4))


@mutant
def int8_quads_lose_the_rest(m: Backend, rng: Rng) -> Witness:
    """int8 and uint8, K > 1, C/g above T: the last C/g mod 4 channels are left out (kind: dot products of four)."""
    above = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        rest = p.fan_in % 4
        quads = p.dtype in ("int8", "uint8") and p.kernel > 1 and p.fan_in > above and rest
        return inner(x, without(w, np.s_[:, -rest:]) if quads else w, p)

    return Call(c_in=above + draw(rng, 1, 3), dtype="int8", data=lambda r, shape: r.integers(1, 3, shape))


@mutant
def channels_last_view_loses_the_rest(m: Backend, rng: Rng) -> Witness:
    """X a channels-last view, g = 1, C above T, C mod 4 = 3: y lacks the last 3 channels (kind: NHWC path's tail)."""
    above = pick(rng, (4, 8, 16))

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        x, w, b, p = inner(*operands)
        rest = p.groups == 1 and p.c_in > above and p.c_in % 4 == 3 and p.length > 1
        if rest and isinstance(x, np.ndarray) and x.strides[1:] == (x.itemsize, p.c_in * x.itemsize):
            x = without(x, np.s_[:, -3:])
        return x, w, b, p

    view = {"x": lambda a: np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)}
    return Call(n=2, c_in=above + 3, view=view)


@mutant
def pointwise_rows_of_unpadded_length(m: Backend, rng: Rng) -> Witness:
    """K = s = g = 1, lo = 0 < hi: row r of the padded x is read from r*L on (kind: 1x1 shortcut, leading dimension)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel == p.stride == p.groups == 1 and p.lo == 0 < p.hi and p.length:
            flat, rows = x.ravel(), p.n * p.c_in
            x = np.stack([flat[r * p.length : r * p.length + p.padded] for r in range(rows)]) if rows else flat
            x = x.reshape(p.n, p.c_in, p.padded)
        return inner(x, w, p)

    return Call(n=2, c_in=2, kernel=1, padding=(0, draw(rng, 1, 3)))
