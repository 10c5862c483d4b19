"""The integers of a convolution (chapters OP and SHAPE): extents, parameters, and the shapes that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from conv1d_cts.spec.padding import Padding, resolve


def output_length(length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
    """L_out = max(0, floor((L + lo + hi - d (K-1) - 1) / s) + 1), in samples (SHAPE-2)."""
    return max(0, (length + lo + hi - dilation * (kernel - 1) - 1) // stride + 1)


@dataclass(frozen=True, slots=True)
class Geometry:
    """One convolution without its data: x (n, c_in, length), w (c_out, c_in/groups, kernel), b (c_out,).

    Extents may be 0 except `kernel`. Raises ValueError where the operator is not defined (chapter ERR).
    """

    n: int
    c_in: int
    c_out: int
    length: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Padding = (0, 0)

    def __post_init__(self) -> None:
        if min(self.n, self.c_in, self.c_out, self.length) < 0 or self.kernel < 1:
            raise ValueError(f"extents must not be negative and the kernel not empty: {self}")
        if self.stride < 1 or self.dilation < 1:
            raise ValueError(f"stride and dilation must be at least 1: {self}")
        if self.groups < 1 or self.c_in % self.groups or self.c_out % self.groups:
            raise ValueError(f"groups must be at least 1 and divide both channel counts: {self}")
        self.pads  # noqa: B018 - raises for negative padding and unknown names

    @property
    def pads(self) -> tuple[int, int]:
        """(lo, hi): samples added before and after the input."""
        return resolve(self.padding, length=self.length, kernel=self.kernel, stride=self.stride, dilation=self.dilation)

    @property
    def span(self) -> int:
        """Samples from the first tap to the last: d (K-1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def l_out(self) -> int:
        """Output length in samples (SHAPE-2)."""
        return output_length(self.length, self.kernel, self.stride, self.dilation, *self.pads)

    @property
    def remainder(self) -> int:
        """Samples of the padded input after the last window; 0 where there is no window."""
        lo, hi = self.pads
        return self.length + lo + hi - (self.l_out - 1) * self.stride - self.span if self.l_out else 0

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """(N, C, L)."""
        return self.n, self.c_in, self.length

    @property
    def w_shape(self) -> tuple[int, int, int]:
        """(O, C/g, K)."""
        return self.c_out, self.c_in // self.groups, self.kernel

    @property
    def b_shape(self) -> tuple[int]:
        """(O,)."""
        return (self.c_out,)

    @property
    def y_shape(self) -> tuple[int, int, int]:
        """(N, O, L_out)."""
        return self.n, self.c_out, self.l_out
