"""NumPy's matmul, of which the reference is made: how many bits of operands and of sums survive; halves by float32."""

import ml_dtypes
import numpy as np


def total(terms: list[float], dtype: str) -> float:
    """The sum of the terms, each times 1."""
    a = np.array([*terms, *[0.0] * (48 - len(terms))]).astype(getattr(ml_dtypes, dtype, dtype))
    wide = a.astype(np.float32) if a.itemsize == 2 else a
    return float(np.matmul(wide[None], np.ones_like(wide)[:, None])[0, 0].astype(a.dtype))


for name in ("float16", "bfloat16", "float32", "float64"):
    operands = totals = 7
    while operands < 53 and total([1 + 2.0**-operands], name) == 1 + 2.0**-operands:
        operands += 1
    while totals < 53 - 29 * (name == "float16"):  # 2^15 * 2^-29 is the smallest normal number there
        large, small = 1.5 * 2.0**15, 2.0 ** (15 - totals)
        orders = ([large, small, -large], [large, -large, small], [-large, large, small])
        if any(total(order, name) != small for order in orders):
            break
        totals += 1
    print(name, "y", operands, totals)
