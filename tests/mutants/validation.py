"""Faults of validation: ranks, channels, groups, stride, dilation, padding, kernel (chapter ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("validation")
Arguments = dict[str, Any]  # x, w, b and the parameters


def accept(m: Backend, mend: Callable[[Arguments], Arguments], parameters_only: bool = True) -> None:
    """Accept what should be refused: mend returns the arguments to replace. The data of tracers stay as they are."""

    @m.around("accept")
    def accepting(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        traced = any(isinstance(a, tape.Tracer) for a in (x, w, b))
        given = {"x": x, "w": w, "b": b, **args}
        mended = {**given, **(mend(given) if parameters_only or not traced else {})}
        return inner(*(mended.pop(key) for key in "xwb"), mended)


def number(value: Any) -> bool:
    """Return whether a parameter is a plain integer."""
    return isinstance(value, int)


@mutant
def x_of_rank_two_accepted(m: Backend, rng: Rng) -> Witness:
    """An x of rank 2 is taken for one item (kind: unbatched input, undocumented)."""
    accept(m, lambda a: {"x": a["x"][None]} if len(a["x"].shape) == 2 else {}, False)
    return Call(shapes={"x": (1, draw(rng, 5, 9))})


@mutant
def x_of_rank_four_accepted(m: Backend, rng: Rng) -> Witness:
    """An x of rank 4 has its last two axes merged (kind: reshape to three axes)."""
    accept(m, lambda a: {"x": a["x"].reshape(*a["x"].shape[:2], -1)} if len(a["x"].shape) == 4 else {}, False)
    return Call(shapes={"x": (1, 1, 2, draw(rng, 3, 5))})


@mutant
def x_of_rank_one_accepted(m: Backend, rng: Rng) -> Witness:
    """An x of rank 1 is taken for one channel of one item (kind: atleast_3d)."""
    accept(m, lambda a: {"x": a["x"][None, None]} if len(a["x"].shape) == 1 else {}, False)
    return Call(shapes={"x": (draw(rng, 5, 9),)})


@mutant
def w_of_rank_two_accepted(m: Backend, rng: Rng) -> Witness:
    """A w of rank 2 is taken for a depthwise or single-channel kernel (kind: unsqueezed)."""
    accept(m, lambda a: {"w": a["w"][:, None]} if len(a["w"].shape) == 2 else {}, False)
    return Call(shapes={"w": (1, draw(rng, 1, 4))})


@mutant
def surplus_channels_cropped(m: Backend, rng: Rng) -> Witness:
    """Channels of x that w does not have are left out (google/XNNPACK#11118, kind)."""

    def mend(a: Arguments) -> Arguments:
        fits = a["w"].shape[1] * a["groups"] if number(a["groups"]) and a["groups"] > 0 else a["x"].shape[1]
        return {"x": a["x"][:, :fits]}

    accept(m, mend, False)
    return Call(c_in=2, shapes={"x": (1, 2 + draw(rng, 1, 3), 8)})


@mutant
def missing_channels_are_zero(m: Backend, rng: Rng) -> Witness:
    """Channels of w that x does not have are left out, in one group (google/XNNPACK#11118, kind)."""
    accept(m, lambda a: {"w": a["w"][:, : a["x"].shape[1]]} if a["groups"] == 1 else {}, False)
    return Call(c_in=2, shapes={"w": (1, 2 + draw(rng, 1, 3), 3)})


@mutant
def single_kernel_channel_broadcast(m: Backend, rng: Rng) -> Witness:
    """A w of one channel is used for all channels of x (kind: broadcasting)."""

    def mend(a: Arguments) -> Arguments:
        alone = len(a["w"].shape) == 3 and a["w"].shape[1] == 1 and a["groups"] == 1 and len(a["x"].shape) == 3
        return {"w": np.repeat(a["w"], a["x"].shape[1], axis=1)} if alone else {}

    accept(m, mend, False)
    channels = draw(rng, 2, 4)
    return Call(c_in=channels, shapes={"w": (2, 1, 3)})


@mutant
def groups_zero_accepted(m: Backend, rng: Rng) -> Witness:
    """Groups of 0 are taken for 1 (pytorch/pytorch#91558: a crash there)."""
    accept(m, lambda a: {"groups": 1} if a["groups"] == 0 and number(a["groups"]) else {})
    return Call(c_in=draw(rng, 1, 3), raw={"groups": 0})


@mutant
def groups_negative_accepted(m: Backend, rng: Rng) -> Witness:
    """Negative groups are taken for their absolute value (pytorch/pytorch#113885)."""
    accept(m, lambda a: {"groups": abs(a["groups"])} if number(a["groups"]) and a["groups"] < 0 else {})
    groups = draw(rng, 1, 3)
    return Call(c_in=groups, c_out=groups, groups=groups, raw={"groups": -groups})


@mutant
def groups_not_dividing_outputs(m: Backend, rng: Rng) -> Witness:
    """Output channels that do not fill the groups are dropped, with the bias (kind: integer division)."""

    def mend(a: Arguments) -> Arguments:
        if not number(a["groups"]) or a["groups"] < 1 or len(a["w"].shape) != 3:
            return {}
        kept = a["w"].shape[0] // a["groups"] * a["groups"]
        return {"w": a["w"][:kept], "b": None if a["b"] is None else a["b"][:kept]}

    accept(m, mend, False)
    groups = draw(rng, 2, 3)
    return Call(c_in=groups, c_out=groups, groups=groups, shapes={"w": (groups + 1, 1, 3)})


@mutant
def groups_not_dividing_inputs(m: Backend, rng: Rng) -> Witness:
    """Input channels that do not fill the groups are dropped (kind: integer division)."""

    def mend(a: Arguments) -> Arguments:
        if not number(a["groups"]) or a["groups"] < 1 or len(a["x"].shape) != 3:
            return {}
        kept = a["x"].shape[1] // a["groups"] * a["groups"]
        return {"x": a["x"][:, :kept]}

    accept(m, mend, False)
    groups = draw(rng, 2, 3)
    return Call(c_in=groups, c_out=groups, groups=groups, shapes={"x": (1, groups + 1, 8)})


@mutant
def stride_zero_accepted(m: Backend, rng: Rng) -> Witness:
    """A stride of 0 is taken for 1 (tensorflow/tensorflow#61902: a crash there)."""
    accept(m, lambda a: {"stride": 1} if a["stride"] == 0 and number(a["stride"]) else {})
    return Call(length=draw(rng, 5, 9), raw={"stride": 0})


@mutant
def stride_negative_accepted(m: Backend, rng: Rng) -> Witness:
    """A negative stride is taken for its absolute value (google/XNNPACK#11156, kind)."""
    accept(m, lambda a: {"stride": abs(a["stride"])} if number(a["stride"]) and a["stride"] < 0 else {})
    return Call(raw={"stride": -draw(rng, 1, 3)})


@mutant
def dilation_zero_accepted(m: Backend, rng: Rng) -> Witness:
    """A dilation of 0 is taken for 1 (tinygrad/tinygrad#14115, kind)."""
    accept(m, lambda a: {"dilation": 1} if a["dilation"] == 0 and number(a["dilation"]) else {})
    return Call(length=draw(rng, 5, 9), raw={"dilation": 0})


@mutant
def dilation_zero_accepted_when_pointwise(m: Backend, rng: Rng) -> Witness:
    """A dilation below 1 is accepted with K = 1, where it has no effect (webmachinelearning/webnn#444, kind)."""
    accept(m, lambda a: {"dilation": 1} if number(a["dilation"]) and a["w"].shape[-1] == 1 else {})
    return Call(kernel=1, length=draw(rng, 5, 9), raw={"dilation": 0})


@mutant
def dilation_negative_accepted(m: Backend, rng: Rng) -> Witness:
    """A negative dilation is taken for its absolute value (torch/nn#1018)."""
    accept(m, lambda a: {"dilation": abs(a["dilation"])} if number(a["dilation"]) and a["dilation"] < 0 else {})
    return Call(raw={"dilation": -draw(rng, 1, 3)})


def pads(a: Arguments) -> tuple[Any, Any] | None:
    """Return explicit integer padding, or None."""
    pair = a["padding"]
    return pair if isinstance(pair, tuple) and len(pair) == 2 and all(map(number, pair)) else None


@mutant
def padding_negative_crops(m: Backend, rng: Rng) -> Witness:
    """Negative padding crops the input (jax-ml/jax#11544)."""

    def mend(a: Arguments) -> Arguments:
        pair = pads(a)
        if pair is None or min(pair) >= 0 or len(a["x"].shape) != 3:
            return {}
        lo, hi = pair
        return {"x": a["x"][:, :, max(-lo, 0) : a["x"].shape[2] - max(-hi, 0)], "padding": (max(lo, 0), max(hi, 0))}

    accept(m, mend, False)
    return Call(raw={"padding": (-draw(rng, 1, 3), 1)})


@mutant
def padding_negative_is_zero(m: Backend, rng: Rng) -> Witness:
    """A negative hi is taken for 0 (openvinotoolkit/openvino#13055, kind)."""

    def mend(a: Arguments) -> Arguments:
        pair = pads(a)
        return {"padding": (pair[0], max(pair[1], 0))} if pair else {}

    accept(m, mend)
    return Call(raw={"padding": (1, -draw(rng, 1, 3))})


@mutant
def kernel_empty_accepted(m: Backend, rng: Rng) -> Witness:
    """A kernel without taps is taken for one tap of 0 (kind: an empty sum)."""

    def mend(a: Arguments) -> Arguments:
        empty = len(a["w"].shape) == 3 and a["w"].shape[2] == 0
        return {"w": np.zeros((*a["w"].shape[:2], 1), a["w"].dtype)} if empty else {}

    accept(m, mend, False)
    return Call(c_out=draw(rng, 1, 3), shapes={"w": (1, 1, 0)})
