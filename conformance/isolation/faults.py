"""What an exception says beyond a refusal: that memory ran out, which is nobody's fault but the machine's."""

from __future__ import annotations

_TYPES = ("OutOfMemoryError", "ResourceExhaustedError", "MemoryError", "_ArrayMemoryError")
# Frameworks that raise one type for everything: XLA, and CUDA's libraries through whoever calls them.
_WORDS = ("resource_exhausted", "out of memory", "cudaerrormemoryallocation", "_status_alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether the exception is that of an allocation that failed, by its type or by the words of its message."""
    text = str(error).lower()
    return type(error).__name__ in _TYPES or any(word in text for word in _WORDS)
