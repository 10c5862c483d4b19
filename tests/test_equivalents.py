"""The calls that `explain` writes compute what the spec defines: each is run where its framework is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

from conv1d_cts.adapters import registry, scripts
from conv1d_cts.adapters.equivalents import FRAMEWORKS, equivalent, explain
from conv1d_cts.reference import conv1d
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_NAMES

GEOMETRIES = [
    Geometry(2, 2, 3, 11, kernel, stride, dilation, 1, padding)
    for padding, kernel, stride, dilation in product((*PADDING_NAMES, (0, 0), (2, 2), (3, 1)), (3, 4), (1, 2), (1, 2))
]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_geometry_has_a_call_in_every_framework(name: str) -> None:
    assert all(equivalent(name, geometry) for geometry in GEOMETRIES)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_call_computes_what_the_spec_defines(name: str) -> None:
    if not all(find_spec(package) for package in name.split("-")):
        pytest.skip(f"{name} is not installed")
    macros = scripts.load(registry.find(name))
    random = np.random.default_rng(0)
    lines = [macros.imports, "import json, numpy as np", str(macros.definitions), "results = []"]
    wanted = []
    for g in GEOMETRIES:
        x, w = (
            random.integers(-8, 9, shape).astype("float32")
            for shape in ((g.n, g.c_in, g.length), (g.c_out, g.c_in, g.kernel))
        )
        lines += [f"{n} = {str(macros.array(a.tolist(), 'float32', 'cpu')).strip()}" for n, a in (("x", x), ("w", w))]
        lines += [f"results.append(np.asarray({equivalent(name, g)}).tolist())"]
        wanted.append(conv1d(x, w, stride=g.stride, padding=g.padding, dilation=g.dilation).tolist())
    lines += ["print('results', json.dumps(results))"]
    run = subprocess.run([sys.executable, "-"], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    got = json.loads(run.stdout.rpartition("results ")[2])
    wrong = [(g, equivalent(name, g)) for g, y, want in zip(GEOMETRIES, got, wanted, strict=True) if y != want]
    assert not wrong, wrong[0]


def test_a_framework_without_the_name_gets_the_numbers() -> None:
    told = explain(Geometry(1, 1, 1, 10, 3, 2, 1, 1, "same"))
    assert "torch       F.conv1d(F.pad(x, (0, 1), 'constant'), w, None, 2, 0, 1, 1)\n" in told
    assert "auto_pad='SAME_UPPER'" in told
    assert told.endswith("mx.conv_general(mx.swapaxes(x, 1, 2), mx.swapaxes(w, 1, 2), 2, ([0], [1]), 1, 1, 1), 1, 2)")
