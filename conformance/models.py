"""The shapes that models are made of: those of many kinds of layer, and the few kinds that every dtype is tried in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, product

from conv1d_cts.spec.geometry import Geometry


def common(rng: random.Random) -> Iterator[Geometry]:
    """Dense, wide, strided, depthwise, pointwise, long; of small kernels."""
    return chain(_dense(rng), _wide(rng), _strided(rng), _depthwise(rng), _pointwise(rng), _tiled(rng))


def layers(rng: random.Random) -> Iterator[Geometry]:
    """Dense, grouped, depthwise of whole vectors, with a multiplier; small kernels, a stride, a dilation, a window."""
    taps = ((1, 1, 1), (3, 1, 1), (5, 1, 1), (3, 2, 1), (3, 1, 2))  # kernel, stride, dilation
    for groups, fan_in, fan_out in ((1, 3, 4), (2, 2, 3), (32, 1, 1), (3, 1, 2)):
        c_in, c_out = groups * fan_in, groups * fan_out
        for kernel, stride, dilation in taps:
            pad, length = rng.choice((0, kernel // 2)), dilation * kernel + rng.randint(2, 12)
            yield Geometry(rng.randint(1, 3), c_in, c_out, length, kernel, stride, dilation, groups, (pad, pad))
        kernel = rng.randint(3, 8)
        yield Geometry(rng.randint(1, 3), c_in, c_out, kernel, kernel, groups=groups)


def _dense(rng: random.Random) -> Iterator[Geometry]:
    """No stride, dilation or groups; one channel and many."""
    for kernel in range(1, 10):
        for c_in, c_out in product((1, rng.randint(2, 48)), (1, rng.randint(2, 48))):
            pad = rng.choice((0, kernel // 2))
            yield Geometry(rng.randint(1, 3), c_in, c_out, kernel + rng.randint(1, 30), kernel, padding=(pad, pad))


def _wide(rng: random.Random) -> Iterator[Geometry]:
    """Many channels both in and out, and many positions: past a block of a matrix product in each direction at once."""
    for kernel, groups in product((1, 3, 5), (1, 2)):
        c_in, c_out = (groups * rng.randint(65, 130 // groups + 1) for _ in range(2))
        length = kernel + rng.choice((rng.randint(20, 40), rng.randint(65, 80)))
        yield Geometry(rng.randint(1, 2), c_in, c_out, length, kernel, groups=groups)


def _strided(rng: random.Random) -> Iterator[Geometry]:
    """Strides from 2, few channels into many and many into few, of short inputs and long ones."""
    for kernel in range(1, 10):
        few, many = rng.randint(1, 3), rng.randint(17, 48)
        for c_in, c_out in ((few, many), (many, few)):
            pad, left = rng.choice((0, kernel // 2)), rng.choice((rng.randint(0, 4), rng.randint(5, 30)))
            stride = rng.choice((2, 2, 3, max(2, kernel)))
            yield Geometry(rng.randint(1, 3), c_in, c_out, kernel + left, kernel, stride, padding=(pad, pad))


def _depthwise(rng: random.Random) -> Iterator[Geometry]:
    """As many groups as channels, of every width of a vector unit and between, with a stride and without."""
    for channels, stride in product((2, 3, 4, 6, 8, 12, 16, 24, 32), (1, 2)):
        kernel, c_out = rng.choice((1, 2, 3, 3, 4, 5, 7)), channels * rng.choice((1, 1, 2))
        pad = rng.choice((0, kernel // 2))
        length = kernel + rng.randint(1, 20)
        yield Geometry(rng.randint(1, 3), channels, c_out, length, kernel, stride, 1, channels, (pad, pad))


def _pointwise(rng: random.Random) -> Iterator[Geometry]:
    """One tap and nothing else: a single product over batch and positions, few of them and many, even and odd."""
    for n, odd, many in product((2, 3, 5), (0, 1), (5, 50)):
        c_in, c_out = rng.choice(((1, 1), (1, 24), (24, 1), (3, 5), (16, 16)))
        yield Geometry(n, c_in, c_out, 2 * rng.randint(many // 2, many) + odd, 1)


def _tiled(rng: random.Random) -> Iterator[Geometry]:
    """Outputs that fill tiles of 32 and 64, or go one past them and others, with a stride, a dilation or groups."""
    kinds = (((2, 3), 1, 1), ((1,), 2, 1), ((1, 2), 1, 2))
    for l_out, (strides, dilation, groups) in product((32, 33, 64, 65, 129, 513), kinds):
        kernel, stride = rng.randint(2, 5), rng.choice(strides)
        length = (l_out - 1) * stride + rng.randrange(stride) + dilation * (kernel - 1) + 1
        yield Geometry(rng.randint(1, 2), 2 * groups, 3 * groups, length, kernel, stride, dilation, groups)
