"""Every emulator gets its class, every time: `python -m tests.classes --seeds 100`.

A seed draws how many products are summed, 1 to 4096, for y, gx or gw in turn. The probes and the random signs are put
to that, and to y, gx, gw and gb of a small geometry.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import click
import numpy as np

from conv1d_cts.conformance.arithmetic.fingerprint import FORWARD, GRADIENTS, Fingerprint, fingerprint
from conv1d_cts.spec.geometry import Geometry
from tests.emulators.bank import EMULATORS, emulator
from tests.in_process import InProcess

SMALL = Geometry(4, 8, 8, 14, 3)
MOST = 4096
_CLASSES = {
    "fp16_in_fp32": "ieee-fp32-accumulate",
    "bf16_in_fp32": "ieee-fp32-accumulate",
    "fp16_in_fp16": "storage-accumulate",
    "fp16_in_fp16_tree": "storage-accumulate",
    "bf16_in_bf16": "storage-accumulate",
    "bf16_truncated_result": "storage-accumulate",
    "fp32_truncating": "storage-accumulate",
    "fp32_truncating_fma": "storage-accumulate",
    "fp32_bf16x3": "bf16x3",
    "fp32_bf16x6": "bf16x3",
    "fp32_tf32": "tf32",
    "fp32_tf32_truncated": "tf32",
    "fp32_tensor_core": "tf32",
    "fp32_bf16": "bf16",
    "fp32_bf16_truncated": "bf16",
    "fp32_fp16": "fail",
    "fp64_through_fp32": "fail",
    "fp32_winograd_2": "norm-wise",
    "fp32_winograd_4": "norm-wise",
    "fp32_fft": "norm-wise",
}


def right_class(name: str) -> str:
    """The class of an emulator: ieee where nothing is said, which is float32 and float64 without a fault."""
    return _CLASSES.get(name, "ieee")


def long_sums(seed: int) -> tuple[Geometry, tuple[str, ...]]:
    """A geometry, and the quantities whose sums have about n products there; n is log-uniform."""
    rng = np.random.default_rng([seed, MOST])
    n = int(np.rint(2 ** rng.uniform(0, np.log2(MOST))))
    kernel = int(rng.choice([k for k in (1, 3, 5, 16) if k <= n]))
    wide, length = max(1, n // kernel), 5 * kernel - 1
    return [
        (Geometry(16, wide, 16, length, kernel), ("y",)),
        (Geometry(16, 16, wide, length, kernel), ("gx",)),
        (Geometry(-(-n // 64), 8, 48, min(n, 64) + min(kernel, 3) - 1, min(kernel, 3)), ("gw", "gb")),
    ][seed % 3]


def classify(name: str, seed: int) -> Fingerprint:
    """The fingerprint of an emulator."""
    backend, (geometry, quantities) = emulator(name), long_sums(seed)
    large = fingerprint(InProcess(backend), backend.dtypes[0], quantities, (geometry,), seed)
    return Fingerprint(large.dtype, (*_small(name).observations, *large.observations))


@cache
def _small(name: str) -> Fingerprint:
    """The part that all seeds share."""
    backend = emulator(name)
    return fingerprint(InProcess(backend), backend.dtypes[0], (*FORWARD, *GRADIENTS), (SMALL,))


def _try(job: tuple[str, int]) -> tuple[str, int, str]:
    return (*job, classify(*job).name)


@click.command()
@click.option("--seeds", default=100, help="Seeds, from 0.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Processes.")
@click.option("--only", default="", help="Only emulators whose name holds this text.")
def main(seeds: int, jobs: int, only: str) -> None:
    """Classify every emulator at every seed."""
    work = [(name, seed) for name in EMULATORS if only in name for seed in range(seeds)]
    started, wrong, done = time.monotonic(), [], Counter[str]()
    with ProcessPoolExecutor(jobs) as workers:
        for name, seed, found in workers.map(_try, work, chunksize=20):
            done[name] += 1
            if found != right_class(name):
                wrong.append((name, seed, found))
            if done[name] == seeds:
                missed = [(s, f) for n, s, f in wrong if n == name]
                print(f"{name:24} {right_class(name):22} {seeds - len(missed)} of {seeds} {missed or ''}", flush=True)
    print(f"{len(work) - len(wrong)} of {len(work)} right, {time.monotonic() - started:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
