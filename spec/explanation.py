"""One geometry in words: its pads, its output length, and the samples that no window reads (chapters PAD and SHAPE)."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import groupby

from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_NAMES, Padding

_WIDEST = 100_000


def parse_padding(text: str) -> Padding:
    """A padding as people write it: a name, "2" for both sides, or "2,1". Raises ValueError with the nearest names."""
    if text in PADDING_NAMES:
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        near = get_close_matches(text, PADDING_NAMES, n=2)
        hint = f"nearest: {', '.join(near)}" if near else f"one of {', '.join(PADDING_NAMES)}, a number, or LO,HI"
        raise ValueError(f"unknown padding {text!r}; {hint}") from None
    if len(numbers) > 2 or not all(0 <= number <= _WIDEST for number in numbers):
        raise ValueError(f"padding is LO,HI, each from 0 to {_WIDEST}, got {text!r}")
    return numbers[0], numbers[-1]


def unread(geometry: Geometry) -> tuple[int, ...]:
    """The samples of the input, 0 the first, that no tap of any window reads."""
    g, (lo, hi) = geometry, geometry.pads
    read = bytearray(lo + g.length + hi)
    # A tap reads a comb of samples, and so does a window: go through the fewer of the two.
    combs = ((g.kernel, g.dilation, g.l_out, g.stride), (g.l_out, g.stride, g.kernel, g.dilation))
    count, offset, teeth, step = min(combs)
    for i in range(count if g.l_out else 0):
        read[i * offset : i * offset + (teeth - 1) * step + 1 : step] = b"\1" * teeth
    return tuple(position for position in range(g.length) if not read[lo + position])


def ranges(positions: tuple[int, ...]) -> str:
    """Ascending integers, neighbours joined: "0, 4-6"."""
    runs = [[p for _, p in run] for _, run in groupby(enumerate(positions), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def explain(geometry: Geometry) -> str:
    """Pads, output length and unread samples, one line each."""
    g, (lo, hi) = geometry, geometry.pads
    missed = unread(g)
    tail = f"; {g.remainder} of the padded input after the last window" if g.remainder else ""
    return "\n".join(
        [
            f"L = {g.length}, K = {g.kernel}, stride {g.stride}, dilation {g.dilation}, padding {g.padding}",
            f"pads        lo = {lo}, hi = {hi}",
            f"span        {g.span} samples from the first tap to the last",
            f"L_out       {g.l_out} = max(0, floor(({g.length} + {lo} + {hi} - {g.span}) / {g.stride}) + 1)",
            f"never read  {f'{len(missed)} of {g.length} samples: {ranges(missed)}' if missed else 'none'}{tail}",
        ]
    )
