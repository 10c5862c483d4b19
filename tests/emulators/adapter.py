"""One emulator as an adapter file: CONV1D_CTS_EMULATOR names it (default fp32_serial).

`CONV1D_CTS_EMULATOR=fp32_tf32 conv1d-cts certify tests/emulators/adapter.py`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the file is loaded by its path, outside any package

from tests.emulators.bank import emulator

adapter = emulator(os.environ.get("CONV1D_CTS_EMULATOR", "fp32_serial"))
