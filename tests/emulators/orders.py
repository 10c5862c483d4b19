"""Orders of summation: each joins the terms of a sum, two nodes at a time, until one node is left.

A node is a product not yet formed or a partial sum, whatever `join` takes; the orders only say which two come next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

Node = Any
Join = Callable[[Node, Node], Node]
Order = Callable[[Sequence[Node], Join], Node]


def serial(nodes: Sequence[Node], join: Join) -> Node:
    """One after another."""
    return reduce(join, nodes)


def backward(nodes: Sequence[Node], join: Join) -> Node:
    """One after another, from the last."""
    return reduce(join, nodes[::-1])


def pairwise(nodes: Sequence[Node], join: Join) -> Node:
    """Halves, and halves of halves."""
    half = len(nodes) // 2
    return join(pairwise(nodes[:half], join), pairwise(nodes[half:], join)) if half else nodes[0]


def blocked(nodes: Sequence[Node], join: Join, size: int = 16) -> Node:
    """Blocks of neighbours, each one after another, then the blocks."""
    return reduce(join, [reduce(join, nodes[i : i + size]) for i in range(0, len(nodes), size)])


def lanes(nodes: Sequence[Node], join: Join, count: int = 8) -> Node:
    """Several accumulators that take turns, as the lanes of a vector unit do; then the accumulators."""
    return reduce(join, [reduce(join, nodes[i::count]) for i in range(min(count, len(nodes)))])


def random_tree(seed: int) -> Order:
    """Return the order that joins two nodes at random again and again; the same for sums of one length."""

    def order(nodes: Sequence[Node], join: Join) -> Node:
        rng = np.random.default_rng([seed, len(nodes)])
        left = list(nodes)
        while len(left) > 1:
            for i in (int(rng.integers(len(left))), int(rng.integers(len(left) - 1))):
                left.append(left.pop(i))
            left.append(join(left.pop(), left.pop()))
        return left[0]

    return order
