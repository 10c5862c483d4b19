"""Faults against the letter of a clause: mapped and compiled functions (clauses INV-17 and INV-19)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Witness

mutant = chapter("transforms")
Transform = Callable[..., Callable[..., Any]]


@mutant
def vmap_lone_item_of_the_last_chunk(m: Backend, rng: Rng) -> Witness:
    """Vmap over 1 modulo T (4 to 12) items, above T: the last result is the one before it (kind: chunked map)."""
    chunk = draw(rng, 4, 12)

    @m.around("vmap")
    def vmap(inner: Transform, f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        def mapped(*operands: Any) -> Any:
            results = inner(f, in_axes)(*operands)
            for y in results if isinstance(results, tuple) else (results,):
                if isinstance(y, np.ndarray) and len(y) > chunk and len(y) % chunk == 1:
                    y[-1] = y[-2]
            return results

        return mapped

    def probe(backend: Backend) -> Any:
        x, w = np.arange(8.0 * (chunk + 1)).reshape(chunk + 1, 1, 1, 8), np.ones((1, 1, 3))
        return backend.vmap(lambda v: backend.conv1d(v, w))(x)

    return probe


@mutant
def compiled_pads_of_the_first_length(m: Backend, rng: Rng) -> Witness:
    """A compiled function keeps the (lo, hi) of a padding name from its first call's L (kind: constants traced)."""
    active: list[dict[Any, Any]] = []

    @m.around("compile")
    def compiled(inner: Transform, f: Callable[..., Any]) -> Callable[..., Any]:
        plain, pads = inner(f), {}

        def call(*operands: Any) -> Any:
            active.append(pads)
            try:
                return plain(*operands)
            finally:
                active.pop()

        return call

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, length: int, *rest: int) -> Any:
        if not active or not isinstance(padding, str):
            return inner(padding, length, *rest)
        key = padding, *rest
        if key not in active[-1]:
            active[-1][key] = inner(padding, length, *rest)
        return active[-1][key]

    length = 2 * draw(rng, 4, 8)

    def probe(backend: Backend) -> Any:
        w = np.ones((1, 1, 3))
        f = backend.compile(lambda x: backend.conv1d(x, w, stride=2, padding="same"))
        return [f(np.arange(1.0, 1 + size).reshape(1, 1, size)) for size in (length, length + 1)]

    return probe


@mutant
def compiled_in_the_first_dtype(m: Backend, rng: Rng) -> Witness:
    """A compiled function first called in float32 computes float64 in float32 (kind: kept by rank, not by dtype)."""

    @m.around("compile")
    def compiled(inner: Transform, f: Callable[..., Any]) -> Callable[..., Any]:
        plain, first = inner(f), []

        def call(*operands: Any) -> Any:
            if not operands or not all(isinstance(a, np.ndarray) for a in operands):
                return plain(*operands)
            first.extend([operands[0].dtype] if not first else [])
            if first[0] != np.float32 or any(a.dtype != np.float64 for a in operands):
                return plain(*operands)
            try:
                results = plain(*(a.astype(np.float32) for a in operands))
            except TypeError:  # what the function closes over is float64
                return plain(*operands)
            if isinstance(results, tuple):
                return tuple(a.astype(np.float64) for a in results)
            return results.astype(np.float64)

        return call

    size = draw(rng, 5, 9)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w))
        x, w = np.arange(1.0, 1 + size).reshape(1, 1, size) / 7, np.array([[[1.0, 2.0, 3.0]]]) / 3
        return [f(x.astype(np.float32), w.astype(np.float32)), f(x, w)]

    return probe
