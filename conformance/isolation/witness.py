"""Who computes: watches what an adapter's own code calls, to catch one that answers for its backend (CONF-1)."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

_REFERENCE = "conv1d_cts.reference"


class Witness:
    """While it is entered, collects in `packages` those of NumPy and the suite's reference that `module` calls itself.

    What a framework does inside is its own affair: JAX, for one, calls NumPy to trace.
    """

    def __init__(self, module: str) -> None:
        self.packages: set[str] = set()
        self._module = module

    def __enter__(self) -> Witness:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_back is not None:
            self._note(frame.f_back, str(frame.f_globals.get("__name__")))
        elif event == "c_call":
            owner = getattr(argument, "__module__", None) or type(getattr(argument, "__self__", None)).__module__
            self._note(frame, str(owner))

    def _note(self, caller: FrameType, called: str) -> None:
        if called.startswith(_REFERENCE):
            self.packages.add(_REFERENCE)
        elif called.partition(".")[0] == "numpy" and caller.f_globals.get("__name__") == self._module:
            self.packages.add("numpy")
