"""Faults that end the process, never return, or eat its memory."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from tests.mutants.base import Backend
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Isolated, Witness, after

mutant = chapter("process")
Act = Callable[[], Any]


def die(m: Backend, seam: str, when: Callable[[Plan], bool], act: Act) -> None:
    """Act at the entrance of a computing seam where the condition holds."""

    @m.around(seam)
    def dying(inner: Callable[..., Any], *arguments: Any) -> Any:
        if when(arguments[-1]):
            act()
        return inner(*arguments)


def die_on(m: Backend, when: Callable[[Any, Any, dict[str, Any]], bool], act: Act) -> None:
    """Act before anything is validated, on x, w and the parameters."""

    @m.around("accept")
    def dying(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if when(x, w, args):
            act()
        return inner(x, w, b, args)


def kill(number: signal.Signals) -> Act:
    """Return the act of dying by a signal."""
    return lambda: os.kill(os.getpid(), number)


def hang() -> None:
    """Sleep for ever."""
    while True:
        time.sleep(60)


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


@mutant
def segfault_on_large_groups(m: Backend, rng: Rng) -> Witness:
    """Depthwise with more than T (8 to 64) channels dies by SIGSEGV (pytorch/pytorch#70523, kind)."""
    most = draw(rng, 8, 64)
    die(m, "forward", lambda p: p.depthwise and p.c_in > most, kill(signal.SIGSEGV))
    return Isolated(Call(c_in=most + 1, c_out=most + 1, groups=most + 1))


@mutant
def segfault_on_three_outputs(m: Backend, rng: Rng) -> Witness:
    """With T (3, 5 or 7) output channels and C > O, the process dies by SIGSEGV (uxlfoundation/oneDNN#323)."""
    channels = pick(rng, [3, 5, 7])
    die(m, "forward", lambda p: p.c_out == channels < p.c_in, kill(signal.SIGSEGV))
    return Isolated(Call(c_in=channels + 1, c_out=channels))


@mutant
def segfault_on_huge_dilation(m: Backend, rng: Rng) -> Witness:
    """A dilation of 2^31 or more dies by SIGSEGV (pytorch/pytorch#143480)."""
    die_on(m, lambda x, w, a: isinstance(a["dilation"], int) and a["dilation"] >= 2**31, kill(signal.SIGSEGV))
    return Isolated(Call(raw={"dilation": 2 ** draw(rng, 31, 62), "padding": "same"}))


@mutant
def segfault_in_reflected_gradient(m: Backend, rng: Rng) -> Witness:
    """The gx of "reflect" wider than T (1 to 4) dies by SIGSEGV (pytorch/pytorch#2563, kind)."""
    least = draw(rng, 1, 4)
    die(m, "pad_transpose", lambda p: p.mode == "reflect" and p.lo > least, kill(signal.SIGSEGV))
    return Isolated(Call(mode="reflect", padding=(least + 1, 0), ask="x"))


@mutant
def segfault_on_second_call(m: Backend, rng: Rng) -> Witness:
    """The second call of a geometry with K > T (1 to 4) dies by SIGSEGV (kind: a freed workspace)."""
    most = draw(rng, 1, 4)
    seen: Counter[Any] = Counter()

    def again(p: Plan) -> bool:
        key = (p.y_shape, p.kernel, p.stride, p.dilation, p.lo, p.hi)
        seen[key] += 1
        return p.kernel > most and seen[key] > 1

    die(m, "forward", again, kill(signal.SIGSEGV))
    return Isolated(after(Call(kernel=most + 1), Call(kernel=most + 1)))


@mutant
def bus_error_when_unaligned(m: Backend, rng: Rng) -> Witness:
    """The gw of L_out > T (16 to 64), not a multiple of 4, dies by SIGBUS (kind: aligned store)."""
    least = draw(rng, 16, 64)
    die(m, "grad_w", lambda p: p.l_out > least and p.l_out % 4, kill(signal.SIGBUS))
    return Isolated(Call(length=least // 4 * 4 + 7, ask="w"))


@mutant
def division_by_stride_zero(m: Backend, rng: Rng) -> Witness:
    """A stride of 0 dies by SIGFPE (pytorch/pytorch#27598)."""
    die_on(m, lambda x, w, a: isinstance(a["stride"], int) and a["stride"] == 0, kill(signal.SIGFPE))
    return Isolated(Call(length=draw(rng, 4, 9), raw={"stride": 0}))


@mutant
def division_by_groups_zero(m: Backend, rng: Rng) -> Witness:
    """Groups of 0 die by SIGFPE (pytorch/pytorch#91558)."""
    die_on(m, lambda x, w, a: isinstance(a["groups"], int) and a["groups"] == 0, kill(signal.SIGFPE))
    return Isolated(Call(length=draw(rng, 4, 9), raw={"groups": 0}))


@mutant
def division_by_empty_batch(m: Backend, rng: Rng) -> Witness:
    """With N = 0, gw dies by SIGFPE (FluxML/NNlib.jl#763, kind)."""
    die(m, "grad_w", lambda p: p.n == 0, kill(signal.SIGFPE))
    return Isolated(Call(n=0, length=draw(rng, 4, 9), ask="w"))


@mutant
def abort_on_negative_padding(m: Backend, rng: Rng) -> Witness:
    """Negative padding aborts (ml-explore/mlx#548)."""

    def negative(x: Any, w: Any, args: dict[str, Any]) -> bool:
        pair = args["padding"]
        return isinstance(pair, tuple) and all(isinstance(side, int) for side in pair) and min(pair, default=0) < 0

    die_on(m, negative, os.abort)
    return Isolated(Call(raw={"padding": (-draw(rng, 1, 3), 0)}))


@mutant
def abort_on_wrong_rank(m: Backend, rng: Rng) -> Witness:
    """An x of rank 2 or 4 aborts: a check that fails (tensorflow/tensorflow#59344, kind)."""
    die_on(m, lambda x, w, a: len(x.shape) in (2, 4), os.abort)
    return Isolated(Call(shapes={"x": (1, draw(rng, 4, 9))}))


@mutant
def abort_on_empty_input(m: Backend, rng: Rng) -> Witness:
    """With L = 0 and padding, the process aborts (kind: an assertion on extents)."""
    die(m, "forward", lambda p: p.length == 0, os.abort)
    return Isolated(Call(length=0, padding=(draw(rng, 3, 5), 0)))


@mutant
def quiet_exit(m: Backend, rng: Rng) -> Witness:
    """Where L is a multiple of T (11 to 17), the process exits with status 0 (kind: exit in a library)."""
    length = draw(rng, 11, 17)
    die(m, "forward", lambda p: p.length % length == 0 < p.length, lambda: os._exit(0))
    return Isolated(Call(length=length))


@mutant
def exit_when_dilated_and_grouped(m: Backend, rng: Rng) -> Witness:
    """With dilation and groups, the process exits with status 1 (pytorch/pytorch#6901, kind)."""
    die(m, "forward", lambda p: p.dilation > 1 and p.groups > 1, lambda: os._exit(1))
    return Isolated(Call(c_in=2, c_out=2, groups=2, dilation=draw(rng, 2, 3), length=9))


@mutant
def exit_by_exception(m: Backend, rng: Rng) -> Witness:
    """With a stride above T (2 to 6), SystemExit is raised (kind: sys.exit in a library)."""
    most = draw(rng, 2, 6)
    die(m, "forward", lambda p: p.stride > most, lambda: sys.exit(0))
    return Isolated(Call(stride=most + 1, length=20))


@mutant
def killed_by_itself(m: Backend, rng: Rng) -> Witness:
    """Where N > T (4 to 32), the process dies by SIGKILL (kind: out of memory, by the kernel)."""
    most = draw(rng, 4, 32)
    die(m, "forward", lambda p: p.n > most, kill(signal.SIGKILL))
    return Isolated(Call(n=most + 1))


@mutant
def hang_when_reflecting_one_sample(m: Backend, rng: Rng) -> Witness:
    """Under "symmetric", an input of up to T (1 to 3) samples never returns (NVIDIA/DALI#3291, kind)."""
    most = draw(rng, 1, 3)
    die(m, "pad", lambda p: p.mode == "symmetric" and p.length <= most, hang)
    return Isolated(Call(mode="symmetric", length=1, kernel=2, padding=(1, 0)))


@mutant
def hang_in_pointwise_gw(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and a stride, gw never returns (ROCm/MIOpen#13)."""
    die(m, "grad_w", lambda p: p.kernel == 1 < p.stride, hang)
    return Isolated(Call(kernel=1, stride=draw(rng, 2, 3), ask="w"))


@mutant
def spin_when_window_is_longer(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 0 and there is a stride, the process computes for ever (kind: a loop until i == L_out)."""
    die(m, "forward", lambda p: p.l_out == 0 and p.stride > 1, spin)
    return Isolated(Call(length=3, kernel=draw(rng, 4, 9), stride=2))


@mutant
def memory_eaten(m: Backend, rng: Rng) -> Witness:
    """Where K > T (8 to 32), 2 GiB are taken, or all but a quarter, then no end (pytorch/pytorch#5285, kind)."""
    most = draw(rng, 8, 32)
    held: list[Any] = []

    def eat() -> None:
        while len(held) < 16 and psutil.virtual_memory().available > psutil.virtual_memory().total // 4:
            held.append(np.ones(2**24))  # 128 MiB
        hang()

    die(m, "forward", lambda p: p.kernel > most, eat)
    return Isolated(Call(kernel=most + 1, length=40))


@mutant
def workspace_too_large(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (64 to 600), a workspace of 2^60 bytes is asked for and refused (clab/dynet#528, kind)."""
    most = draw(rng, 64, 600)
    die(m, "forward", lambda p: p.l_out > most, lambda: np.empty(2**60, np.uint8))
    return Isolated(Call(length=most + 3))


@mutant
def stack_exhausted(m: Backend, rng: Rng) -> Witness:
    """Where C/g > T (32 to 256), a recursion over the channels never ends (kind: recursion)."""
    most = draw(rng, 32, 256)

    def descend() -> None:
        descend()

    die(m, "forward", lambda p: p.fan_in > most, descend)
    return Isolated(Call(c_in=most + 1))
