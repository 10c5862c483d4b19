"""One mutant as an adapter file: CONV1D_CTS_MUTANT names it, CONV1D_CTS_MUTANT_SEED draws its thresholds (default 0).

With no mutant named, `adapter` is the correct backend; with several, commas between them, it has all of their faults.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the file is loaded by its path, outside any package

from tests.mutants.bank import MUTANTS
from tests.mutants.base import Backend

_names = [name for name in os.environ.get("CONV1D_CTS_MUTANT", "").split(",") if name]
adapter = Backend(_names[0] if len(_names) == 1 else "several" if _names else "correct")
for _name in _names:
    if _name not in MUTANTS:
        raise LookupError(f"no mutant {_name!r} in the bank")
    MUTANTS[_name].plant_in(adapter, int(os.environ.get("CONV1D_CTS_MUTANT_SEED", "0")))
