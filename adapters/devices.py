"""Names of devices: what a user may call the one that an adapter has, and whether two names mean the same.

A name is a kind and, behind a colon, a number that is 0 where it is left out: "cpu", "cuda:0", "gpu:1". Each framework
has its own word for an NVIDIA GPU; `cuda` and `gpu` ask for it under either.
"""

from __future__ import annotations

from collections.abc import Sequence

_SYNONYMS = ("cuda", "gpu")


def kind(device: str) -> str:
    """What comes before the colon: "cuda" of "cuda:1"."""
    return device.partition(":")[0].lower()


def number(device: str) -> str:
    """What comes after the colon, "0" where there is none."""
    return device.partition(":")[2] or "0"


def is_cpu(device: str) -> bool:
    """Whether the device is the processor, or a part of it: what its memory holds, NumPy sees."""
    return kind(device) == "cpu"


def same(one: str, other: str) -> bool:
    """Whether two names mean one device: "cpu" and "cpu:0", "cuda:1" and "gpu:1"."""
    kinds = {kind(one), kind(other)}
    return number(one) == number(other) and (len(kinds) == 1 or kinds <= set(_SYNONYMS))


def resolve(asked: str, offered: Sequence[str]) -> str:
    """The device of an adapter that a user asks for, by the adapter's own name; empty where it has no such device.

    `gpu:1` is also the second accelerator of an adapter that has another word for its accelerators.
    """
    if asked in offered:
        return asked
    accelerators = [device for device in offered if not is_cpu(device)] if kind(asked) == "gpu" else []
    alike = [d for d in offered if same(asked, d)] or [d for d in accelerators if number(d) == number(asked)]
    return alike[0] if alike else ""
