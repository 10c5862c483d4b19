"""TensorFlow's conv1d, in a few lines: the bits of the operands and of the sum that survive in y, for each dtype."""

from itertools import permutations

import tensorflow as tf


def y(dtype: str, *terms: float) -> float:
    x, w = tf.constant([[[v] for v in terms]], dtype), tf.ones((len(terms), 1, 1), dtype)
    return float(tf.nn.conv1d(x, w, 1, "VALID")[0, 0, 0])


for name, most in (("float16", 24), ("bfloat16", 53), ("float32", 53), ("float64", 53)):
    rounded = (p for p in range(7, 53) if y(name, 1 + 2.0**-p) != 1 + 2.0**-p)
    orders = ((p, o) for p in range(7, most) for o in permutations((1.5 * 2.0**15, 2.0 ** (15 - p), -1.5 * 2.0**15)))
    lost = (p for p, terms in orders if y(name, *terms) != 2.0 ** (15 - p))
    print(name, "y", next(rounded, 53), next(lost, most))
