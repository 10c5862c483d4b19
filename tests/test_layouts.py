"""Kernels in the frameworks' layouts: there and back, and through real layers, which compute the same function."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest

from conv1d_cts.adapters.layouts import KERNEL_AXES, carry

KERNEL = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)

# torch -> keras -> flax -> jax -> mlx -> torch, as far as they are installed; integers, so that any sum is exact
CHAIN = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np
import torch
from conv1d_cts.adapters.layouts import carry

rng = np.random.default_rng(0)
draw = lambda *shape: rng.integers(-9, 10, shape).astype(np.float32)
x, kernel, bias = draw(2, 4, 11), draw(6, 2, 3), draw(6)
layer = torch.nn.Conv1d(4, 6, 3, stride=2, dilation=1, groups=2)
with torch.no_grad():
    layer.weight.copy_(torch.tensor(kernel)), layer.bias.copy_(torch.tensor(bias))
want = layer(torch.tensor(x)).detach().numpy()
held, name = layer.weight.detach().numpy(), "torch"
for framework in sys.argv[1:]:
    held, name = carry(held, name, framework), framework
    if framework == "keras":
        import keras
        own = keras.layers.Conv1D(6, 3, strides=2, groups=2)
        own.build((None, 11, 4))
        own.set_weights([held, bias])
        y = keras.ops.convert_to_numpy(own(x.transpose(0, 2, 1))).transpose(0, 2, 1)
        held = own.get_weights()[0]
    elif framework == "flax":
        from flax import nnx
        own = nnx.Conv(4, 6, 3, strides=2, padding="VALID", feature_group_count=2, rngs=nnx.Rngs(0))
        own.kernel, own.bias = nnx.Param(held), nnx.Param(bias)
        y = np.asarray(own(x.transpose(0, 2, 1))).transpose(0, 2, 1)
        held = np.asarray(own.kernel[...])
    elif framework == "jax":
        from jax import lax
        y = np.asarray(lax.conv_general_dilated(x, held, (2,), "VALID", feature_group_count=2)) + bias[:, None]
    elif framework == "mlx":
        import mlx.core as mx
        import mlx.nn as nn
        own = nn.Conv1d(4, 6, 3, stride=2, groups=2)
        own.weight, own.bias = mx.array(held), mx.array(bias)
        y = np.array(own(mx.array(np.ascontiguousarray(x.transpose(0, 2, 1))))).transpose(0, 2, 1)
        held = np.array(own.weight)
    assert y.shape == want.shape and (y == want).all(), (framework, y, want)
back = carry(held, name, "torch")
assert (back == kernel).all()
print("carried through", *sys.argv[1:])
"""


@pytest.mark.parametrize(("source", "target"), [*permutations(KERNEL_AXES, 2)])
def test_there_and_back_is_the_same_kernel(source: str, target: str) -> None:
    there = carry(KERNEL, source, target)
    assert not np.shares_memory(there, KERNEL)
    assert there.flags.c_contiguous
    np.testing.assert_array_equal(carry(there, target, source), KERNEL)


def test_each_axis_goes_to_its_place() -> None:
    assert carry(KERNEL, "torch", "keras").shape == (4, 3, 2)
    assert carry(KERNEL, "torch", "mlx").shape == (2, 4, 3)
    assert carry(KERNEL, "keras", "torch")[1, 2, 0] == KERNEL[0, 2, 1]


def test_what_is_no_kernel_and_no_framework_is_said() -> None:
    with pytest.raises(ValueError, match="three axes"):
        carry(KERNEL[0], "torch", "keras")
    with pytest.raises(LookupError, match="nearest: keras"):
        carry(KERNEL, "torch", "kerras")


@pytest.mark.parametrize("frameworks", [("keras",), ("flax",), ("jax",), ("mlx",), ("keras", "flax", "jax", "mlx")])
def test_weights_carried_between_real_layers_give_the_same_function(frameworks: tuple[str, ...]) -> None:
    for framework in ("torch", *frameworks):
        if find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed")
    done = subprocess.run([sys.executable, "-c", CHAIN, *frameworks], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["carried", "through", *frameworks]
