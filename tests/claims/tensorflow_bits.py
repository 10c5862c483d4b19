"""TensorFlow's conv1d in plain code: how many bits of operands and of sums survive in y, gx, gw and gb."""

from functools import cache

import tensorflow as tf


@cache
def sums(terms: tuple[float, ...], dtype: str) -> list[float]:
    """The sum of the terms, each times 1, as y and gx of 16 channels and 3 taps, as gw and gb of 48 items."""
    a = tf.constant([*terms, *[0.0] * (48 - len(terms))], dtype)
    x, w, b = tf.zeros((1, 5, 1), dtype), tf.zeros((3, 1, 1), dtype), tf.zeros(1, dtype)
    of_channels = tf.transpose(tf.reshape(a, (1, 16, 3)), (0, 2, 1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((x, w, b))
        of_x = tf.nn.conv1d(x, tf.ones((3, 1, 16), dtype), 1, "VALID")
        of_w = tf.nn.bias_add(tf.nn.conv1d(tf.ones((48, 3, 1), dtype), w, 1, "VALID"), b)
    gx = tape.gradient(of_x, x, of_channels[:, ::-1])
    gw, gb = tape.gradient(of_w, (w, b), tf.reshape(a, (48, 1, 1)))
    y = tf.nn.conv1d(of_channels, tf.ones((3, 16, 1), dtype), 1, "VALID")
    return [float(y[0, 0, 0]), float(gx[0, 2, 0]), float(gw[1, 0, 0]), float(gb[0])]


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
