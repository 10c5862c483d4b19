"""Cases at edges past those of the pool: of each padding, and of the blocks that kernels compute in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, product

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.pool import FLOATS
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES, widest


def long_kernels(name: str) -> Iterator[Case]:
    """A named padding for kernels longer than those of the pool, with every small stride and dilation, and than x."""
    for kernel, stride, dilation in ((8, 1, 1), (11, 2, 1), (14, 3, 1), (16, 1, 2), (17, 2, 2), (33, 1, 1)):
        yield Case(Geometry(2, 2, 3, 2 * kernel + 5, kernel, stride, dilation, 1, name), seed=kernel)
    for kernel, length in ((5, 2), (7, 4), (9, 8), (12, 5)):
        yield Case(Geometry(2, 2, 3, length, kernel, padding=name), seed=kernel)


def dilated(name: str) -> Iterator[Case]:
    """A named padding for kernels of even and odd length, spread by even and odd dilations, with every small stride."""
    for kernel, stride, dilation in product((3, 6), (1, 2, 3), (3, 4)):
        yield Case(Geometry(2, 2, 3, dilation * kernel + 4, kernel, stride, dilation, padding=name), seed=kernel)
    for dilation in (33, 65, 130, 260):  # and so far that what is kept of the past has to be long
        yield Case(Geometry(1, 1, 2, 3 * dilation + 4, 3, 1, dilation, padding=name), seed=dilation)


def long_strides(name: str) -> Iterator[Case]:
    """A named padding for strides past the window, with every remainder, and past the input, which leave one window."""
    for (kernel, dilation), length in product(((1, 1), (2, 1), (3, 2)), range(10, 15)):
        yield Case(Geometry(2, 2, 3, length, kernel, 5, dilation, padding=name), seed=length)
    for kernel, length in product((2, 3, 4, 5), (1, 2, 3, 4)):
        yield Case(Geometry(2, 2, 3, length, kernel, stride=5, padding=name), seed=length)


def whole_strides(name: str) -> Iterator[Case]:
    """A named padding for every odd stride from 3 to 63, on inputs of whole strides: many quotients."""
    for stride, windows in zip(range(3, 64, 2), cycle((3, 7, 13)), strict=False):
        yield Case(Geometry(1, 1, 2, windows * stride, 3, stride, padding=name), seed=stride)


def wide_pads(mode: str) -> Iterator[Case]:
    """A padding mode with ever wider pads on either side and on both, up to the last sample that it may show.

    And one of single taps, which are as easily padded after the product.
    """
    value = 1.5 if mode == "constant" else 0
    yield Case(Geometry(2, 4, 3, 6, 1, padding=(2, 1)), "float32", False, mode, value)
    for pad in (3, 6, 10, 18, 33):
        shortest = pad + max(0, pad - (widest(mode, pad) or pad))
        on_one_side = product(((pad, 0), (0, pad)), (shortest, pad + 4))
        for pads, length in (*on_one_side, ((pad, pad), shortest)):
            yield Case(Geometry(2, 2, 3, length, 3, padding=pads), "float32", True, mode, value, seed=pad)
    for pad in (65, 130, 260):
        yield Case(Geometry(1, 1, 2, pad + 1, 3, padding=(pad, pad)), "float32", True, mode, value, seed=pad)
    yield Case(Geometry(2, 2, 2, 1100, 3, padding=(3, 2)), "float32", True, mode, value)  # rows past a block
    for pad, (stride, dilation) in zip((6, 7, 8, 11), ((2, 1), (3, 1), (1, 2), (1, 3)), strict=True):
        shortest = pad + max(0, pad - (widest(mode, pad) or pad))
        for pads in ((pad, 0), (pad, pad)):
            g = Geometry(2, 2, 3, shortest, 3, stride, dilation, padding=pads)
            yield Case(g, "float32", True, mode, value, seed=pad)


def around_powers() -> Iterator[Case]:
    """Explicit padding of long kernels, inputs around a power of two: transforms of that length lack room for pads."""
    for kernel, length in product((24, 48), (62, 64, 65)):
        for pads in ((6, 6), (kernel // 2, kernel // 2), (2, 7), (kernel - 1, 0)):
            yield Case(Geometry(2, 2, 3, length, kernel, padding=pads), seed=kernel)


def named_pads(mode: str) -> Iterator[Case]:
    """A padding mode with every name that pads, even and odd in total."""
    value = 1.5 if mode == "constant" else 0
    for name, (kernel, stride, dilation) in product(PADDING_NAMES, ((4, 1, 1), (3, 2, 2), (4, 3, 1))):
        if name != "valid":
            g = Geometry(2, 2, 3, 11, kernel, stride, dilation, 1, name)
            yield Case(g, "float32", True, mode, value, seed=kernel)


def sides(mode: str) -> Iterator[Case]:
    """A padding mode with `same` and `same_lower` of even kernels, where one side has a sample more, and of strides."""
    value = 1.5 if mode == "constant" else 0
    windows = ((4, 1, 1), (2, 1, 1), (4, 1, 2), (2, 3, 1))
    for name, (kernel, stride, dilation) in product(("same", "same_lower"), windows):
        yield Case(Geometry(2, 2, 3, 10, kernel, stride, dilation, 1, name), "float32", True, mode, value, seed=kernel)


def every_dtype(mode: str) -> Iterator[Case]:
    """A padding mode on operands of every dtype, whose samples a pad may cast on their way, or write byte by byte."""
    plain, steps = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128"), ("float16", "complex64")
    integers = ("int8", "uint8", "int16", "int32", "int64")
    short, wide = (3, 2), (8, 7)
    for dtype, past in (("int8", 140), ("uint8", 270), ("bfloat16", 270), ("float16", 2060)):  # what the dtype counts
        g = Geometry(1, 1, 2, past, 3, padding=short)
        yield Case(g, dtype, True, mode, 2 if mode == "constant" else 0)
    for dtype, (pads, stride, dilation) in (
        *product(plain, ((short, 1, 1),)), *product(steps, ((short, 4, 1), (short, 1, 2))),
        *product(integers, ((wide, 1, 1),)),
    ):  # fmt: skip
        g = Geometry(2, 2, 3, 9, 3, stride, dilation, padding=pads)
        yield Case(g, dtype, True, mode, 2 if mode == "constant" else 0)


def without_windows() -> Iterator[Case]:
    """No window: one sample missing, two and three, under each small stride, and in each dtype."""
    for dtype, stride, short in product(FLOATS, (1, 2, 3), (1, 2, 3)):
        yield Case(Geometry(2, 2, 3, 4 - short, 4, stride), dtype, bias=False, seed=short)


def each_mode() -> Iterator[Case]:
    """A case of each padding mode, the first one with zeros on both sides alike."""
    for mode in PADDING_MODES:
        value = 1.5 if mode == "constant" else 0
        g = Geometry(2, 2, 3, 9, 3, padding=(1, 1 if mode == "zeros" else 2))
        yield Case(g, padding_mode=mode, padding_value=value)


def complex_modes() -> Iterator[Case]:
    """Every mode but zeros on complex operands, padded on both sides and on one, plain and in groups."""
    kinds = (((3, 2), 1, 1), ((0, 4), 1, 2), ((4, 0), 2, 1))
    for mode, (pads, stride, groups) in product(PADDING_MODES[1:], kinds):
        g = Geometry(2, 2, 4, 7, 3, stride, groups=groups, padding=pads)
        yield Case(g, "complex64", True, mode, 2 if mode == "constant" else 0, seed=stride)


def blocks() -> Iterator[Case]:
    """Channels that fill the blocks of a kernel, windows with every remainder by 8; all plain but for one thing."""
    for (c_in, c_out), rest in product(((8, 8), (16, 32), (32, 16)), range(8)):
        yield Case(Geometry(2, c_in, c_out, 10 + rest, 3), seed=rest)
    for rest in range(8):
        yield Case(Geometry(2, 16, 16, 17 + 2 * rest, 3, stride=2), seed=rest)
        yield Case(Geometry(2, 16, 16, 12 + rest, 3, dilation=2), seed=rest)
        yield Case(Geometry(2, 16, 16, 10 + rest, 3, groups=2), seed=rest)
    for l_out, (stride, dilation) in product((64, 65, 321), ((1, 1), (2, 1), (1, 2))):  # depthwise, past a tile or two
        length = (l_out - 1) * stride + 2 * dilation + 1
        yield Case(Geometry(2, 4, 4, length, 3, stride, dilation, groups=4), seed=l_out)


def past_tiles() -> Iterator[Case]:
    """Outputs one past a multiple of each width of a tile, 8 to 112 by eights: the last one is alone in its tile."""
    for l_out, (stride, dilation) in product((721, 841, 961, 1009, 1145), ((1, 1), (2, 1), (1, 2))):
        length = (l_out - 1) * stride + 2 * dilation + 1
        yield Case(Geometry(1, 2, 2, length, 3, stride, dilation), seed=l_out)


def patches() -> Iterator[Case]:
    """Strides as long as the kernel, as of patches, dilated or not, and as the dilation; on whole numbers or not."""
    for size, (kernel, dilation) in product((2, 3, 4, 8, 16), ((0, 1), (0, 2), (0, 3), (3, 0))):
        windows, rest = 280 // size if dilation % 2 else 80 // size, int(dilation == 1)
        geometry = Geometry(1, 2, 3, windows * size + rest, kernel or size, size, dilation or size)
        yield Case(geometry, seed=size + dilation)


def many_filters() -> Iterator[Case]:
    """Groups of every odd number of filters from 19 to 63: many quotients by which a filter finds its group."""
    for filters in range(19, 64, 2):
        yield Case(Geometry(1, 6, 3 * filters, 5, 2, groups=3), seed=filters)


def multipliers() -> Iterator[Case]:
    """Depthwise, so many outputs a channel, and channels, that they fill a block, or leave any remainder by 4."""
    for multiplier, channels in product((2, 3, 4, 5, 6, 7, 10), (3, 5, 8)):
        yield Case(Geometry(2, channels, channels * multiplier, 9, 3, groups=channels), seed=multiplier)


def corners() -> Iterator[Case]:
    """Filters and windows with every pair of remainders by any block of up to 8: where both end in part of a block."""
    for c_out, l_out in product(range(5, 13), repeat=2):
        yield Case(Geometry(1, 3, c_out, l_out + 2, 3), seed=c_out)


def taps() -> Iterator[Case]:
    """Kernels of 10 taps and more, every remainder by 8 in two rounds of an unrolled loop; of one channel and more."""
    for kernel, (c_in, c_out) in product(range(10, 24), ((1, 1), (1, 3), (3, 1))):
        yield Case(Geometry(2, c_in, c_out, kernel + 4, kernel), seed=kernel)


def depthwise_taps() -> Iterator[Case]:
    """The same kernels, depthwise, of one output a channel and two."""
    for kernel, multiplier in product(range(10, 26), (1, 2)):
        yield Case(Geometry(2, 3, 3 * multiplier, kernel + 4, kernel, groups=3), seed=kernel)


def long_filters() -> Iterator[Case]:
    """Filters that a transform of the whole input would pay for: long ones, on inputs that are twice as long."""
    for kernel, (c_in, c_out, groups) in product((24, 33, 64, 100), ((1, 1, 1), (2, 3, 1), (3, 3, 3))):
        yield Case(Geometry(2, c_in, c_out, 2 * kernel + 5, kernel, groups=groups), seed=kernel)


def pointwise_blocks() -> Iterator[Case]:
    """Single taps from blocks of channels to others, windows with every remainder by 8: the tails of one product."""
    for (c_in, c_out), rest in product(((8, 8), (16, 32), (32, 16)), range(8)):
        yield Case(Geometry(2, c_in, c_out, 8 + rest, 1), seed=rest)


def long_windows() -> Iterator[Case]:
    """One window as long as a long input: a dense layer over all samples, of one channel and more, and in groups."""
    for kernel, (c_in, c_out, groups) in product((31, 32, 33, 64), ((1, 3, 1), (2, 3, 1), (3, 2, 1), (4, 2, 2))):
        yield Case(Geometry(2, c_in, c_out, kernel, kernel, groups=groups), seed=kernel)


def strided_wide_pads() -> Iterator[Case]:
    """Zeros on both sides past several windows, under strides that do and do not divide them, and dilated."""
    for pads, (stride, dilation) in product(((13, 14), (15, 15), (24, 13)), ((2, 1), (3, 1), (1, 2), (2, 2))):
        yield Case(Geometry(2, 2, 3, 7, 3, stride, dilation, padding=pads), seed=stride)


def odd_strides() -> Iterator[Case]:
    """Every odd stride from 19 to 63, by turns dividing the room for windows and one sample past it: many quotients."""
    for stride in range(19, 64, 2):
        windows = 1 + stride % 5
        yield Case(Geometry(1, 1, 2, windows * stride + (stride % 4 == 3) + 1, 1, stride), seed=stride)


def long_strided_rows() -> Iterator[Case]:
    """Strides that divide long inputs but for a sample: a quotient that is a little too large gives a window more."""
    for stride in (3, 7, 11, 13, 19, 23, 29, 37, 43, 53, 61):
        yield Case(Geometry(1, 1, 1, 60_000 // stride * stride - 1 + 2, 2, stride), bias=False, seed=stride)


_MODEL_SIZED = (
    Geometry(2, 64, 128, 299, 3, padding=(1, 1)), Geometry(1, 1, 512, 2002, 10, 5), Geometry(1, 512, 80, 301, 1),
    Geometry(2, 256, 256, 300, 31, groups=256, padding=(15, 15)), Geometry(2, 48, 96, 511, 7, 2, padding=(3, 3)),
    Geometry(1, 64, 64, 2085, 2, dilation=512), Geometry(8, 32, 32, 403, 3, groups=4), Geometry(2, 1, 1, 70_001, 33),
    Geometry(260, 3, 5, 131, 3), Geometry(2, 33, 31, 2050, 3), Geometry(1, 96, 384, 370, 4, 4),
    Geometry(6, 160, 192, 30, 3), Geometry(2, 12, 32, 640, 33),
)  # fmt: skip


def model_sized() -> Iterator[Case]:
    """Several extents at once as large as in the layers of models: so much work is split, or goes to another kernel."""
    for seed, geometry in enumerate(_MODEL_SIZED):
        yield Case(geometry, bias=seed % 2 == 0, seed=seed)


def half_rows() -> Iterator[Case]:
    """Halves in rows as long as tiles, of several taps and an odd channel: long for their lattice, and exact in y."""
    for dtype, l_out in product(("bfloat16", "float16"), (130, 161, 200, 260)):
        yield Case(Geometry(1, 3, 2, l_out + 2, 3), dtype, bias=False, seed=l_out)


def uneven_blocks() -> Iterator[Case]:
    """Channels that fill the blocks of a kernel, padded more on one side than on the other, plain and strided."""
    for (c_in, c_out), pads, stride in product(((16, 32), (32, 16), (32, 64)), ((1, 2), (2, 0), (0, 1)), (1, 2)):
        yield Case(Geometry(1, c_in, c_out, 11, 3, stride, padding=pads), seed=stride)


def long_complex_rows() -> Iterator[Case]:
    """Complex operands, each extent of y in turn past a power of two."""
    for dtype, extent in product(("complex64", "complex128"), (65, 257)):
        for n, c_out, l_out in ((extent, 3, 2), (2, extent, 3), (2, 3, extent)):
            yield Case(Geometry(n, 2, c_out, l_out + 2, 3), dtype, seed=extent)
