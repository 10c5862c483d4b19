"""Faults of validation, continued: large integers, bias, dtypes, names, what is no integer (chapter ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.validation import Arguments, accept, number, pads
from tests.mutants.witness import Call, Witness

mutant = chapter("validation")


def wrap(value: Any, bits: int) -> Any:
    """Return an integer as a signed one of so many bits has it; anything else as it is."""
    half = 2 ** (bits - 1)
    return (value + half) % (2 * half) - half if number(value) else value


@mutant
def stride_wraps(m: Backend, rng: Rng) -> Witness:
    """A stride is kept in 32 bits and its sign dropped: 2^31 + 2 is 2^31 - 2 or so, 2^32 + 1 is 1 (kind: wrapped)."""
    accept(m, lambda a: {"stride": max(1, abs(wrap(a["stride"], 32)))} if _big(a["stride"]) else {})
    return Call(length=12, raw={"stride": 2**32 + draw(rng, 1, 3)})


@mutant
def stride_of_62_bits_is_one(m: Backend, rng: Rng) -> Witness:
    """A stride of 2^31 or more is taken for 1 (pytorch/pytorch#143480, kind: wrapped)."""
    accept(m, lambda a: {"stride": 1} if _big(a["stride"]) else {})
    return Call(length=12, raw={"stride": 2 ** draw(rng, 31, 62)})


@mutant
def dilation_wraps(m: Backend, rng: Rng) -> Witness:
    """A dilation is kept in 32 bits, 1 where that is not positive (pytorch/pytorch#143480: a crash there)."""
    accept(m, lambda a: {"dilation": max(1, wrap(a["dilation"], 32))} if _big(a["dilation"]) else {})
    return Call(length=12, raw={"dilation": 2 ** draw(rng, 32, 62)})


@mutant
def padding_wraps(m: Backend, rng: Rng) -> Witness:
    """Padding of 2^31 and more is kept in 16 bits: 0 for powers of two (tensorflow/tensorflow#59059, kind: wrapped)."""

    def mend(a: Arguments) -> Arguments:
        pair = pads(a)
        return {"padding": tuple(abs(wrap(side, 16)) if _big(side) else side for side in pair)} if pair else {}

    accept(m, mend)
    return Call(raw={"padding": (2 ** draw(rng, 31, 62), 1)})


@mutant
def groups_wrap(m: Backend, rng: Rng) -> Witness:
    """Groups are kept in 32 bits: 2^32 + g is g (kind: wrapped)."""
    accept(m, lambda a: {"groups": max(1, abs(wrap(a["groups"], 32)))} if _big(a["groups"]) else {})
    groups = draw(rng, 1, 2)
    return Call(c_in=2, c_out=2, groups=groups, raw={"groups": 2**32 + groups})


def _big(value: Any) -> bool:
    return number(value) and value >= 2**31


def mend_bias(m: Backend, when: Callable[[int, tuple[int, ...]], bool], fit: Callable[[Any, int], Any]) -> None:
    """Make a bias of another shape fit: when and fit get O."""

    def mend(a: Arguments) -> Arguments:
        if a["b"] is None or len(a["w"].shape) != 3 or not when(a["w"].shape[0], a["b"].shape):
            return {}
        return {"b": fit(a["b"], a["w"].shape[0])}

    accept(m, mend, False)


@mutant
def bias_of_one_broadcast(m: Backend, rng: Rng) -> Witness:
    """A bias of length 1 serves all channels (kind: broadcasting)."""
    mend_bias(m, lambda o, shape: shape == (1,), lambda b, o: np.repeat(b, o))
    return Call(c_out=draw(rng, 2, 5), bias=True, shapes={"b": (1,)})


@mutant
def bias_too_long_cropped(m: Backend, rng: Rng) -> Witness:
    """A bias longer than O is cropped (kind: length unchecked)."""
    mend_bias(m, lambda o, shape: len(shape) == 1 and shape[0] > o, lambda b, o: b[:o])
    channels = draw(rng, 1, 5)
    return Call(c_out=channels, bias=True, shapes={"b": (channels + 1,)})


@mutant
def bias_too_short_read_beyond(m: Backend, rng: Rng) -> Witness:
    """A bias shorter than O is read beyond its end: the first values again (microsoft/onnxruntime#29464)."""
    mend_bias(m, lambda o, shape: len(shape) == 1 and 1 < shape[0] < o, lambda b, o: np.resize(b, o))
    channels = draw(rng, 3, 6)
    return Call(c_out=channels, bias=True, shapes={"b": (channels - 1,)})


@mutant
def bias_of_rank_two_flattened(m: Backend, rng: Rng) -> Witness:
    """A bias of rank 2 with O values is flattened (kind: reshape(-1))."""
    mend_bias(m, lambda o, shape: len(shape) == 2 and shape[0] * shape[1] == o, lambda b, o: b.reshape(-1))
    channels = draw(rng, 2, 5)
    return Call(c_out=channels, bias=True, shapes={"b": [(1, channels), (channels, 1)][draw(rng, 0, 1)]})


@mutant
def dtypes_promoted(m: Backend, rng: Rng) -> Witness:
    """A w of another dtype than x is accepted: both are promoted (kind: numpy promotion)."""

    def mend(a: Arguments) -> Arguments:
        if a["w"].dtype == a["x"].dtype or "float" not in f"{a['w'].dtype}" or "float" not in f"{a['x'].dtype}":
            return {}
        dtype = np.promote_types(a["x"].dtype, a["w"].dtype)
        return {key: None if a[key] is None else a[key].astype(dtype) for key in "xwb"}

    accept(m, mend, False)
    return Call(kernel=draw(rng, 1, 4), dtypes={"w": "float32"})


@mutant
def weights_cast_to_input(m: Backend, rng: Rng) -> Witness:
    """A w of another dtype than x is cast to that of x (kind: silent cast)."""
    accept(m, lambda a: {"w": a["w"].astype(a["x"].dtype)}, False)
    return Call(kernel=draw(rng, 1, 4), dtype="float32", dtypes={"w": "float64"})


@mutant
def bias_cast_to_input(m: Backend, rng: Rng) -> Witness:
    """A b of another dtype than x is cast to that of x (kind: parameters kept in float32)."""
    accept(m, lambda a: {} if a["b"] is None else {"b": a["b"].astype(a["x"].dtype)}, False)
    return Call(c_out=draw(rng, 1, 4), dtype="float64", bias=True, dtypes={"b": "float32"})


@mutant
def unknown_padding_is_valid(m: Backend, rng: Rng) -> Witness:
    """An unknown padding name is taken for "valid" (kind: a default branch)."""
    names = ("valid", "same", "same_lower", "causal", "full")
    accept(m, lambda a: {"padding": "valid"} if isinstance(a["padding"], str) and a["padding"] not in names else {})
    return Call(length=draw(rng, 5, 9), raw={"padding": "sane"})


@mutant
def padding_name_by_prefix(m: Backend, rng: Rng) -> Witness:
    """A padding name is told by its first letter (kind: sloppy parsing)."""
    letters = {"v": "valid", "c": "causal", "f": "full"}

    def mend(a: Arguments) -> Arguments:
        name = a["padding"]
        if not isinstance(name, str) or name in ("same", "same_lower"):
            return {}
        return {"padding": letters.get(name[:1].lower(), "same")}

    accept(m, mend)
    return Call(length=draw(rng, 5, 9), raw={"padding": "casual"})


@mutant
def unknown_mode_is_zeros(m: Backend, rng: Rng) -> Witness:
    """An unknown padding mode is taken for "zeros" (kind: a default branch)."""
    modes = ("zeros", "constant", "reflect", "symmetric", "replicate", "circular")
    accept(m, lambda a: {} if a["padding_mode"] in modes else {"padding_mode": "zeros"})
    return Call(padding=(draw(rng, 1, 2), 1), raw={"padding_mode": "mirror"})


def mend_number(m: Backend, names: tuple[str, ...], fit: Callable[[Any], Any]) -> None:
    """Turn parameters of those names into integers."""
    accept(m, lambda a: {name: fit(a[name]) for name in names})


@mutant
def fractions_truncated(m: Backend, rng: Rng) -> Witness:
    """Stride, dilation and groups that are fractions are truncated (kind: int())."""
    mend_number(m, ("stride", "dilation", "groups"), lambda v: int(v) if isinstance(v, float) and v >= 1 else v)
    return Call(raw={("stride", "dilation")[draw(rng, 0, 1)]: draw(rng, 1, 3) + 0.5})


@mutant
def padding_fractions_truncated(m: Backend, rng: Rng) -> Witness:
    """Padding that is a fraction is truncated (kind: int())."""

    def mend(a: Arguments) -> Arguments:
        pair = a["padding"]
        finite = isinstance(pair, tuple) and all(isinstance(side, int | float) and side < 2**31 for side in pair)
        return {"padding": tuple(map(int, pair))} if finite else {}

    accept(m, mend)
    return Call(raw={"padding": (draw(rng, 0, 2) + 0.5, 1)})


@mutant
def strings_parsed(m: Backend, rng: Rng) -> Witness:
    """A stride or dilation given as a string of digits is parsed (kind: int())."""
    mend_number(m, ("stride", "dilation"), lambda v: int(v) if isinstance(v, str) and v.isdigit() else v)
    return Call(raw={("stride", "dilation")[draw(rng, 0, 1)]: "2"})


@mutant
def none_is_default(m: Backend, rng: Rng) -> Witness:
    """A stride, dilation or groups of None is taken for 1 (kind: `or 1`)."""
    mend_number(m, ("stride", "dilation", "groups"), lambda v: 1 if v is None else v)
    return Call(raw={("stride", "dilation", "groups")[draw(rng, 0, 2)]: None})


@mutant
def nan_is_one(m: Backend, rng: Rng) -> Witness:
    """A stride or dilation that is NaN is taken for 1 (kind: a comparison that NaN passes)."""
    mend_number(m, ("stride", "dilation"), lambda v: 1 if isinstance(v, float) and v != v else v)
    return Call(raw={("stride", "dilation")[draw(rng, 0, 1)]: float("nan")})
