"""Flax: the layer nnx.Conv with the parameters given, as it is and saved and loaded again; the rest is JAX's."""

from __future__ import annotations

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx, serialization

from conv1d_cts.adapters import jax_adapter
from conv1d_cts.adapters.conditions import TRANSFORMED
from conv1d_cts.adapters.jax_adapter import (  # noqa: F401 - what an adapter may offer, as JAX has it
    compile,
    device_facts,
    device_of,
    devices,
    eval_shape,
    jvp,
    native,
    precision_switches,
    settings,
    shares_memory,
    to_native,
    to_numpy,
    vjp,
    vmap,
)

name = "flax"
versions = {"flax": flax.__version__, **jax_adapter.versions}
dtypes = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_NAMES = {"valid": "VALID", "same": "SAME", "same_lower": "SAME_LOWER", "causal": "CAUSAL"}
_MODES = {"circular": "CIRCULAR", "reflect": "REFLECT"}  # each is a padding of its own: as many samples as `same`


def _padding(padding: Any, padding_mode: str, stride: Any) -> Any:
    """What nnx.Conv takes for a padding."""
    if padding_mode != "zeros":
        if padding_mode not in _MODES or padding != "same" or stride != 1:
            raise NotImplementedError(
                "nnx.Conv pads as 'same' without a stride does, in the modes CIRCULAR and REFLECT"
            )
        return _MODES[padding_mode]
    return _NAMES.get(padding, padding) if isinstance(padding, str) else [padding]


def _layer(
    w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: str = "zeros"
) -> nnx.Conv:
    """nnx.Conv, whose initializers are asked for parameters and give these."""
    return nnx.Conv(
        w.shape[1] * groups,
        w.shape[0],
        (w.shape[2],),
        stride,
        padding=_padding(padding, padding_mode, stride),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=b is not None,
        kernel_init=lambda *_: jnp.transpose(w, (2, 1, 0)),
        bias_init=lambda *_: b,
        rngs=nnx.Rngs(0),
    )


def _apply(module: nnx.Conv, x: Any) -> Any:
    """The layer on x (N, C, L)."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise NotImplementedError("a layer's parameters are floating: nnx.Conv makes float32 of integers")
    return jnp.transpose(module(jnp.transpose(x, (0, 2, 1))), (0, 2, 1))


def conv1d(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """nnx.Conv."""
    return _apply(_layer(w, b, **parameters), x)


def reloaded(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """nnx.Conv on x, both saved and loaded again: the state by flax.serialization, into a layer of zeros."""
    saved = _layer(w, b, **parameters)
    loaded = _layer(jnp.zeros_like(w), None if b is None else jnp.zeros_like(b), **parameters)
    data = serialization.to_bytes({"x": x, "state": nnx.to_pure_dict(nnx.state(saved))})
    restored = serialization.msgpack_restore(data)
    state = nnx.state(loaded)
    nnx.replace_by_pure_dict(state, restored["state"])
    nnx.update(loaded, state)
    return _apply(loaded, jnp.asarray(restored["x"]))


def fit(x: Any, w: Any, target: Any, *, steps: int) -> Any:
    """The kernel of nnx.Conv after so many steps of optax.adam, with which flax comes, on the mean absolute error."""
    layer, parameters = nnx.split(_layer(w, None, stride=1, padding=(0, 0), dilation=1, groups=1))
    adam = optax.adam(0.05, eps=1e-7)
    gradient = jax.jit(jax.grad(lambda parameters: jnp.abs(_apply(nnx.merge(layer, parameters), x) - target).mean()))
    state = adam.init(parameters)
    for _ in range(steps):
        updates, state = adam.update(gradient(parameters), state)
        parameters = optax.apply_updates(parameters, updates)
    return jnp.transpose(nnx.merge(layer, parameters).kernel[...], (2, 1, 0))


surfaces = {"layer": conv1d, "reloaded": reloaded}
fits = {"layer": fit}
limits = {
    "padding == 'full'": "nnx.Conv hands names to lax, which has VALID, SAME and SAME_LOWER, and has CAUSAL itself",
    "padding_mode not in ('zeros', 'circular', 'reflect')": "nnx.Conv has no such mode",
    "padding_mode in ('circular', 'reflect') and (padding != 'same' or stride > 1)": (
        "in its modes nnx.Conv pads as 'same' does without a stride"
    ),
}
limits |= {
    f"surface == 'reloaded' and function in {(*TRANSFORMED, 'eval_shape')}": "what a transform traces cannot be saved"
}
