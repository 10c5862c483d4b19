"""An adapter on one of its devices: the way of arrays there and back, and what the device itself tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from conv1d_cts.adapters import devices, processor
from conv1d_cts.conformance.isolation.faults import out_of_memory
from conv1d_cts.conformance.isolation.programs.task import Native

Array = np.ndarray[Any, Any]


def surfaces(adapter: Any, device: str) -> Mapping[str, Any]:
    """The surfaces that the adapter has everywhere, and those that it has on this device alone."""
    further = getattr(adapter, "surfaces_on", None)
    everywhere = getattr(adapter, "surfaces", None) or {"functional": adapter.conv1d}
    return {**everywhere, **(further(device) if further else {})}


def facts(adapter: Any, device: str) -> dict[str, str]:
    """What the adapter says of the device: which one it is, its driver, its libraries. Of the CPU we say it."""
    told = getattr(adapter, "device_facts", None)
    own = {str(k): str(v) for k, v in told(device).items()} if told and device else {}
    return own or (processor.facts() if devices.is_cpu(device) else {})


@dataclass(frozen=True)
class Place:
    """An adapter and its own name of a device."""

    adapter: Any
    device: str

    @property
    def is_cpu(self) -> bool:
        """Whether NumPy sees the memory of the device."""
        return devices.is_cpu(self.device)

    def settings(self, surface: str) -> AbstractContextManager[Any]:
        """What the adapter wants in force while anything is done on a surface: its settings, its device."""
        own = getattr(self.adapter, "settings", None)
        within: AbstractContextManager[Any] = own(surface, self.device) if own else nullcontext()
        return within

    def to_native(self, array: Array) -> Native:
        """The array as the backend's own, on the device."""
        convert = getattr(self.adapter, "to_native", None)
        return convert(array, self.device) if convert else array

    def to_numpy(self, native: Native) -> Array:
        """The way back. Raises TypeError where the adapter gives something else than an array of numbers."""
        array = getattr(self.adapter, "to_numpy", np.asarray)(native)
        if not isinstance(array, np.ndarray):
            raise TypeError(f"to_numpy returned {type(array).__name__}, not numpy.ndarray")
        if array.dtype.kind in "OSUMm":
            raise TypeError(f"to_numpy returned an array of {array.dtype.name}, not of numbers")
        return array

    def device_of(self, native: Native) -> str:
        """Where a result is, in the adapter's words or in its own; empty where neither says it."""
        named = getattr(self.adapter, "device_of", None)
        return str(named(native) if named else getattr(native, "device", ""))

    def synchronize(self) -> None:
        """Wait for the device, so that an error which it is late to report belongs to the call that made it."""
        wait = getattr(self.adapter, "synchronize", None)
        if wait and not self.is_cpu:
            wait(self.device)

    def aliases(
        self, arrays: Mapping[str, Native], operands: Mapping[str, Array], results: list[Native], read: list[Any]
    ) -> list[str]:
        """The operands that share memory with a result: as NumPy sees it, off the CPU as the adapter does.

        `operands` and `read` are what NumPy has of `arrays` and `results`.
        """
        if self.is_cpu:
            return [n for n, a in operands.items() if any(r is not None and np.may_share_memory(r, a) for r in read)]
        shares = getattr(self.adapter, "shares_memory", None)
        if shares is None:
            return []  # and the checks that ask are told so
        found = [r for r in results if r is not None]
        return [name for name in operands if any(shares(result, arrays[name]) for result in found)]

    def poison(self, results: Iterable[Array]) -> None:
        """Leave freed blocks of the results' sizes full of 0xFF bytes, so that memory never written shows (INV-3)."""
        for result in results:
            blocks: list[Native] = [np.full(max(result.nbytes, 1), 0xFF, np.uint8) for _ in range(4)]
            if result.nbytes and not self.is_cpu:
                blocks += [self.to_native(block.view(result.dtype)) for block in blocks]
            del blocks

    def fault(self, surface: str) -> str:
        """What is wrong with the device, found by one number's way there and back; empty where nothing is.

        After a fault in a kernel CUDA fails every later call of the process, those that are right too.
        """
        try:
            with self.settings(surface):
                self.to_numpy(self.to_native(np.ones(1, np.float32)))
                self.synchronize()
        except Exception as error:
            return "" if out_of_memory(error) else f"{type(error).__name__}: {error}"[:2000]
        return ""
