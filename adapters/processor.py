"""The processor: its instruction sets, by which frameworks choose their kernels, and with the kernels their faults."""

from __future__ import annotations

from pathlib import Path

_KINDS = ("amx", "asimd", "avx", "f16c", "fma", "sse4", "sve")  # those that numerical kernels are written for


def instruction_sets() -> list[str]:
    """The processor's instruction sets as Linux names them; none where the system does not say."""
    return _told("flags").split() or _told("Features").split()


def facts() -> dict[str, str]:
    """What a certificate says of the processor: its model, and the instruction sets for vectors and matrices."""
    numerical = [name for name in instruction_sets() if name.startswith(_KINDS)]
    return {name: said for name, said in {"model": _told("model name"), "sets": " ".join(numerical)}.items() if said}


def _told(field: str) -> str:
    """What /proc/cpuinfo has under a name for the first processor; empty where there is no such file or name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")
