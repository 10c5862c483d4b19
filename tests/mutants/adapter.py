"""One mutant as an adapter file: CONV1D_CTS_MUTANT names it, CONV1D_CTS_MUTANT_SEED draws its thresholds (default 0).

With no mutant named, `adapter` is the correct backend.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the file is loaded by its path, outside any package

from tests.mutants.bank import MUTANTS
from tests.mutants.base import Backend

_name = os.environ.get("CONV1D_CTS_MUTANT", "")
if _name and _name not in MUTANTS:
    raise LookupError(f"no mutant {_name!r} in the bank")
adapter = MUTANTS[_name].factory(int(os.environ.get("CONV1D_CTS_MUTANT_SEED", "0"))) if _name else Backend()
