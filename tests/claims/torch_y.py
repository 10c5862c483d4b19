"""PyTorch's conv1d, in a few lines: the bits of the operands and of the sum that survive in y, for each dtype."""

from itertools import permutations

import torch


def y(dtype: str, *terms: float) -> float:
    t = getattr(torch, dtype)
    return torch.nn.functional.conv1d(torch.tensor([[terms]], dtype=t), torch.ones(1, 1, len(terms), dtype=t)).item()


for name, most in (("float16", 24), ("bfloat16", 53), ("float32", 53), ("float64", 53)):
    rounded = (p for p in range(7, 53) if y(name, 1 + 2.0**-p) != 1 + 2.0**-p)
    orders = ((p, o) for p in range(7, most) for o in permutations((1.5 * 2.0**15, 2.0 ** (15 - p), -1.5 * 2.0**15)))
    lost = (p for p, terms in orders if y(name, *terms) != 2.0 ** (15 - p))
    print(name, "y", next(rounded, 53), next(lost, most))
