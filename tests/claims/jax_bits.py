"""JAX's convolution in plain code: how many bits of operands and of sums survive in y, gx, gw and gb."""

from functools import cache

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)


@jax.jit
def conv1d(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """(N, C, L), (O, C, K) and (O,) give (N, O, L_out)."""
    y = jax.lax.conv_general_dilated(x, w, (1,), "VALID", dimension_numbers=("NCW", "OIW", "NCW"))
    return y + jax.lax.broadcast_in_dim(b, y.shape, (1,))


@cache
def sums(terms: tuple[float, ...], dtype: str) -> list[float]:
    """The sum of the terms, each times 1, as y and gx of 16 channels and 3 taps, as gw and gb of 48 items."""
    a = jnp.array([*terms, *[0.0] * (48 - len(terms))], dtype)
    x, w, b, ones = (jnp.zeros(shape, dtype) for shape in ((1, 1, 5), (1, 1, 3), (1,), (48, 1, 3)))
    ones, wide = ones + 1, jnp.zeros(16, dtype)
    gx, _ = jax.vjp(lambda x, b: conv1d(x, ones[:16], b), x, wide)[1](a.reshape(1, 16, 3)[..., ::-1])
    gw, gb = jax.vjp(lambda w, b: conv1d(ones, w, b), w, b)[1](a.reshape(48, 1, 1))
    y = conv1d(a.reshape(1, 16, 3), ones[:16].reshape(1, 16, 3), b)
    return [float(y[0, 0, 0]), float(gx[0, 0, 2]), float(gw[0, 0, 1]), float(gb[0])]


for name in ("float16", "bfloat16", "float32", "float64"):
    for i, quantity in enumerate(("y", "gx", "gw", "gb")):
        operands = totals = 7
        while operands < 53 and sums((1 + 2.0**-operands,), name)[i] == 1 + 2.0**-operands:
            operands += 1
        while totals < 53 - 29 * (name == "float16"):  # 2^15 * 2^-29 is the smallest normal number there
            large, small = 1.5 * 2.0**15, 2.0 ** (15 - totals)
            orders = ((large, small, -large), (large, -large, small), (-large, large, small))
            if any(sums(order, name)[i] != small for order in orders):
                break
            totals += 1
        print(name, quantity, operands, totals)
