"""The reference on NumPy against torch, both on one thread, float64: `python -m conv1d_cts.reference.bench`.

Print for each geometry the best time of each over interleaved rounds, their ratio, and the peak memory of the
reference as a multiple of padded x + w + y. The exit status is 1 where a limit below is exceeded. torch is imported in
`main` alone: it is what is measured against, and the package does not need it. The threads of BLAS are set in the
environment of a process of its own, because they are read when NumPy is imported.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from conv1d_cts.reference import conv1d
from conv1d_cts.reference.contractions import BLOCK
from conv1d_cts.spec.geometry import Geometry

MOST_MEAN = 1.3  # geometric mean of the ratios of time
MOST_RATIO = 3.0  # of any one that works for longer than WORK seconds
MOST_MEMORY = 2.5  # peak over bytes of padded x, w and y, where these are more than a block of the reference
WORK = 100e-6
ROUNDS = 7
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")

GEOMETRIES = [
    Geometry(1, 1, 1, 4, 2),
    Geometry(1, 1, 1, 16, 3, padding=(1, 1)),
    Geometry(2, 3, 4, 32, 3, padding=(1, 1)),
    Geometry(8, 16, 32, 128, 5, padding=(2, 2)),
    Geometry(64, 32, 64, 64, 3, stride=2, padding=(1, 1)),
    Geometry(128, 64, 64, 16, 3, padding=(1, 1)),
    Geometry(1, 64, 64, 1024, 3, padding=(1, 1)),
    Geometry(4, 64, 128, 1000, 5, stride=2, padding=(2, 2)),
    Geometry(16, 3, 64, 2048, 7, stride=2, padding=(3, 3)),
    Geometry(1, 1, 32, 16000, 16, stride=4),
    Geometry(1, 1, 1, 100000, 64),
    Geometry(2, 512, 512, 256, 1),
    Geometry(1, 80, 512, 3000, 3, padding=(1, 1)),
    Geometry(4, 128, 128, 2048, 7, dilation=4, padding=(12, 12)),
    Geometry(4, 128, 128, 1024, 3, groups=8, padding=(1, 1)),
    Geometry(8, 256, 256, 512, 7, groups=256, padding=(3, 3)),
    Geometry(4, 256, 512, 512, 3, groups=256, padding=(1, 1)),
    Geometry(1, 256, 256, 4096, 3, padding=(1, 1)),
]


def best_times(functions: list[Callable[[], Any]], budget: float = 0.01) -> list[float]:
    """Return the best time of each function, in seconds a call, over interleaved rounds of about `budget` each."""
    repeats = []
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        repeats.append(max(1, int(budget / max(time.perf_counter() - start, 1e-7))))
    best = [math.inf] * len(functions)
    for _ in range(ROUNDS):
        for i, (function, times) in enumerate(zip(functions, repeats, strict=True)):
            start = time.perf_counter()
            for _ in range(times):
                function()
            best[i] = min(best[i], (time.perf_counter() - start) / times)
    return best


def peak_memory(function: Callable[[], Any]) -> int:
    """Return the most bytes that a call holds at once, its result included; NumPy reports its arrays to tracemalloc."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(geometry: Geometry, torch: Any) -> tuple[float, float, float]:
    """Return the times of torch and of the reference, in seconds a call, and the reference's peak memory."""
    g, (lo, hi) = geometry, geometry.pads
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(g.x_shape), rng.standard_normal(g.w_shape)
    operands = torch.from_numpy(x), torch.from_numpy(w)

    def theirs() -> Any:
        return torch.nn.functional.conv1d(*operands, None, g.stride, lo, g.dilation, g.groups)

    def ours() -> Any:
        return conv1d(x, w, stride=g.stride, padding=(lo, hi), dilation=g.dilation, groups=g.groups)

    torch_time, numpy_time = best_times([theirs, ours])
    return torch_time, numpy_time, peak_memory(ours) / (8 * elements(g))


def elements(geometry: Geometry) -> int:
    """Return the elements of padded x, w and y together."""
    padded = geometry.n * geometry.c_in * (geometry.length + sum(geometry.pads))
    return padded + math.prod(geometry.w_shape) + math.prod(geometry.y_shape)


def main() -> int:
    """Print the table; return 0 where the limits hold, 1 where one does not."""
    import torch

    torch.set_num_threads(1)
    ratios, failed = [], False
    print(
        f"{'x':>16} {'w':>14} {'s':>2} {'d':>2} {'g':>4} {'torch us':>10} {'numpy us':>10} {'ratio':>6} {'memory':>7}"
    )
    for g in GEOMETRIES:
        torch_time, numpy_time, memory = measure(g, torch)
        ratio = numpy_time / torch_time
        ratios.append(ratio)
        failed |= ratio > MOST_RATIO and max(torch_time, numpy_time) > WORK
        failed |= memory > MOST_MEMORY and elements(g) > BLOCK
        print(
            f"{g.x_shape!s:>16} {g.w_shape!s:>14} {g.stride:2} {g.dilation:2} {g.groups:4} {torch_time * 1e6:10.1f} "
            f"{numpy_time * 1e6:10.1f} {ratio:6.2f} {memory:7.2f}"
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean of the ratios {mean:.2f} (at most {MOST_MEAN})")
    return int(failed or mean > MOST_MEAN)


if __name__ == "__main__":
    if THREADS.items() <= os.environ.items():
        sys.exit(main())
    sys.exit(subprocess.call([sys.executable, "-m", "conv1d_cts.reference.bench"], env=os.environ | THREADS))
