"""The emulators by name: `EMULATORS["fp32_pairwise"]()` is a backend.

Each name is a dtype and what is special about its arithmetic. All but the last group are sums of products.
"""

from __future__ import annotations

from functools import partial

from tests.emulators import orders
from tests.emulators.arithmetic import Arithmetic
from tests.emulators.emulator import Emulator, Make, Restricted
from tests.emulators.rounding import BFLOAT16, BINARY16, BINARY32, BINARY64, TF32
from tests.emulators.transforms import Fourier, Winograd

_ORDERS = {
    "serial": orders.serial, "reversed": orders.backward, "pairwise": orders.pairwise, "blocked": orders.blocked,
    "lanes": orders.lanes, "tree": orders.random_tree(0),
}  # fmt: skip
_SUMS, _OPERANDS, _RESULT = (frozenset({what}) for what in ("sums", "operands", "result"))

# Honest: every operation is rounded to nearest in the format of the operands or a wider one.
HONEST: dict[str, tuple[str, Arithmetic]] = {
    **{f"fp32_{name}": ("float32", Arithmetic(order=order)) for name, order in _ORDERS.items()},
    **{f"fp32_{name}_fma": ("float32", Arithmetic(order=order, fused=True)) for name, order in _ORDERS.items()},
    "fp32_in_fp64": ("float32", Arithmetic(sums=BINARY64)),
    "fp64": ("float64", Arithmetic(sums=BINARY64)),
    "fp64_tree": ("float64", Arithmetic(sums=BINARY64, order=orders.random_tree(0))),
    "fp16_in_fp32": ("float16", Arithmetic()),
    "bf16_in_fp32": ("bfloat16", Arithmetic()),
    "fp16_in_fp16": ("float16", Arithmetic(sums=BINARY16)),
    "bf16_in_bf16": ("bfloat16", Arithmetic(sums=BFLOAT16)),
    "fp16_in_fp16_tree": ("float16", Arithmetic(sums=BINARY16, order=orders.random_tree(0))),
}

# Each loses something that the dtype promises.
SHORTENED: dict[str, tuple[str, Arithmetic]] = {
    "fp32_truncating": ("float32", Arithmetic(truncate=_SUMS)),
    "fp32_truncating_fma": ("float32", Arithmetic(truncate=_SUMS, fused=True)),
    "fp32_tf32": ("float32", Arithmetic(TF32)),
    "fp32_tf32_truncated": ("float32", Arithmetic(TF32, truncate=_OPERANDS)),
    "fp32_tensor_core": ("float32", Arithmetic(TF32, fused=True, truncate=_SUMS)),
    "fp32_bf16": ("float32", Arithmetic(BFLOAT16)),
    "fp32_bf16_truncated": ("float32", Arithmetic(BFLOAT16, truncate=_OPERANDS)),
    "fp32_bf16x3": ("float32", Arithmetic(BFLOAT16, parts=2)),
    "fp32_bf16x6": ("float32", Arithmetic(BFLOAT16, parts=3)),
    "fp32_fp16": ("float32", Arithmetic(BINARY16)),
    "fp64_through_fp32": ("float64", Arithmetic(BINARY32)),
    "bf16_truncated_result": ("bfloat16", Arithmetic(truncate=_RESULT)),
    "fp32_flushing_operands": ("float32", Arithmetic(flush=_OPERANDS)),
    "fp32_flushing_results": ("float32", Arithmetic(flush=_SUMS | _RESULT)),
    "fp32_flushing": ("float32", Arithmetic(flush=_OPERANDS | _SUMS | _RESULT)),
}

# No sums of products at all.
TRANSFORMS: dict[str, Make] = {
    "fp32_winograd_2": partial(Winograd, "fp32_winograd_2", 2),
    "fp32_winograd_4": partial(Winograd, "fp32_winograd_4", 4),
    "fp32_fft": partial(Fourier, "fp32_fft"),
}


def _make(name: str, dtype: str, arithmetic: Arithmetic) -> Make:
    return lambda: Emulator(name, arithmetic, (dtype,))


EMULATORS: dict[str, Make] = {
    **{name: _make(name, *recipe) for name, recipe in (HONEST | SHORTENED).items()},
    **TRANSFORMS,
}


def emulator(name: str) -> Restricted:
    """The backend of that name. Raises LookupError for an unknown one."""
    if name not in EMULATORS:
        raise LookupError(f"no emulator {name!r}; one of {', '.join(EMULATORS)}")
    return EMULATORS[name]()
