"""PyTorch's conv1d in plain code: how many bits of operands and of sums survive in y, gx, gw and gb."""

from functools import cache

import torch
from torch.nn.functional import conv1d


@cache
def sums(terms: tuple[float, ...], dtype: torch.dtype) -> list[float]:
    """The sum of the terms, each times 1, as y and gx of 16 channels and 3 taps, as gw and gb of 48 items."""
    a = torch.tensor([*terms, *[0.0] * (48 - len(terms))], dtype=dtype)
    ones = torch.ones(48, 1, 3, dtype=dtype)
    x, w, b = (torch.zeros(*s, dtype=dtype, requires_grad=True) for s in ((1, 1, 5), (1, 1, 3), (1,)))
    (gx,) = torch.autograd.grad(conv1d(x, ones[:16]), x, a.view(1, 16, 3).flip(-1))
    gw, gb = torch.autograd.grad(conv1d(ones, w, b), (w, b), a.view(48, 1, 1))
    y = conv1d(a.view(1, 16, 3), ones[:16].view(1, 16, 3))
    return [r.item() for r in (y, gx[0, 0, 2], gw[0, 0, 1], gb)]


for name in ("float16", "bfloat16", "float32", "float64"):
    for i, quantity in enumerate(("y", "gx", "gw", "gb")):
        operands = totals = 7
        while operands < 53 and sums((1 + 2.0**-operands,), getattr(torch, name))[i] == 1 + 2.0**-operands:
            operands += 1
        while totals < 53 - 29 * (name == "float16"):  # 2^15 * 2^-29 is the smallest normal number there
            large, small = 1.5 * 2.0**15, 2.0 ** (15 - totals)
            orders = ((large, small, -large), (large, -large, small), (-large, large, small))
            if any(sums(order, getattr(torch, name))[i] != small for order in orders):
                break
            totals += 1
        print(name, quantity, operands, totals)
