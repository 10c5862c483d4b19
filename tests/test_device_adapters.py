"""The frameworks' adapters on devices that every machine has: 2nd CPUs of JAX and TensorFlow, torch's meta device."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Refused, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, arrange
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.test_conformance import computed_by_the_backend, gradients_by_the_backend
from conv1d_cts.spec.geometry import Geometry
from tests.test_device_faults import CALL, pid, source
from tests.test_devices import CASE, on


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_jax_computes_on_the_second_of_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    with on(AdapterSource("jax", module="conv1d_cts.adapters.jax_adapter"), "cpu:1") as surface:
        assert surface.backend.describe()["devices"] == ["cpu", "cpu:1"]
        assert computed_by_the_backend(surface, CASE).endswith(" on cpu:1")
        assert gradients_by_the_backend(surface, CASE).endswith(" on cpu:1")


_TWO_CPUS = """\
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from conv1d_cts.adapters.tensorflow_adapter import *
"""


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed")
def test_tensorflow_computes_on_the_second_of_two_devices(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(_TWO_CPUS, encoding="utf-8")
    with on(AdapterSource("two", path=str(path)), "cpu:1") as surface:
        assert surface.backend.describe()["devices"] == ["cpu", "cpu:1"]
        assert computed_by_the_backend(surface, CASE).endswith(" on cpu:1")
        assert gradients_by_the_backend(surface, CASE).endswith(" on cpu:1")
    path.write_text(_TWO_CPUS + "\ndel settings\n", encoding="utf-8")
    unplaced = on(AdapterSource("two", path=str(path)), "cpu:1")
    with unplaced as surface, pytest.raises(Violation, match="the result is on cpu, not on cpu:1"):
        computed_by_the_backend(surface, CASE)


@pytest.fixture
def torch_adapter() -> Any:
    pytest.importorskip("torch", reason="torch is not installed")
    from conv1d_cts.adapters import torch_adapter

    return torch_adapter


def test_torchs_settings_are_those_of_their_surface_and_come_back(torch_adapter: Any) -> None:
    import torch

    def settings() -> tuple[bool, bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic

    assert list(torch_adapter.surfaces_on("cpu")) == ["mkldnn-off"]
    with torch_adapter.settings("mkldnn-off", "cpu"):
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled
    assert list(torch_adapter.surfaces_on("cuda:0")) == ["tf32-off", "benchmark", "deterministic"]
    before = settings()
    assert before == (True, True, False, False)
    within = {}
    for surface in ("functional", *torch_adapter.surfaces_on("cuda:0"), "functional"):
        with torch_adapter.settings(surface, "cuda:0"):
            within[surface] = settings()
        assert settings() == before
    assert within == {
        "functional": before, "tf32-off": (True, False, False, False), "benchmark": (True, True, True, False),
        "deterministic": (True, True, False, True),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")  # said once, and meant here
@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_keeps_the_layout_of_what_it_moves(torch_adapter: Any, layout: str) -> None:
    """On the meta device, which has shapes and strides and no data."""
    for dtype in ("float32", "bfloat16"):
        case = Case(Geometry(2, 4, 6, 9, 3), dtype=dtype, layout=layout)
        x = arrange(operands(case).x, layout)
        here, there = torch_adapter.to_native(x, "cpu"), torch_adapter.to_native(x, "meta")
        assert torch_adapter.device_of(there) == "meta"
        assert (there.shape, there.stride(), there.dtype) == (here.shape, here.stride(), here.dtype)
        again = torch_adapter.to_native(x, "cpu:0")  # a name of the CPU that takes the way of other devices
        assert again.stride() == here.stride()
        assert np.array_equal(torch_adapter.to_numpy(again), x)


def test_torch_moves_what_is_empty(torch_adapter: Any) -> None:
    there = torch_adapter.to_native(np.zeros((2, 0, 3), np.float32), "meta")
    assert (tuple(there.shape), torch_adapter.device_of(there)) == ((2, 0, 3), "meta")


def test_torch_sees_what_shares_memory(torch_adapter: Any) -> None:
    x, y = (torch_adapter.to_native(np.ones((2, 3), np.float32), "cpu") for _ in range(2))
    assert torch_adapter.shares_memory(x[:1], x)
    assert not torch_adapter.shares_memory(x, y)
    assert not torch_adapter.shares_memory(x[:0], y[:0])


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_what_has_no_data_is_a_refusal_and_no_lost_device(tmp_path: Path) -> None:
    path = tmp_path / "meta.py"
    offered = "\n\ndef devices():\n    return ['cpu', 'meta']\n\n\ndef synchronize(device):\n    pass\n"
    path.write_text("from conv1d_cts.adapters.torch_adapter import *\n" + offered, encoding="utf-8")
    with on(source(path), "meta") as surface:
        before = pid(surface)
        with pytest.raises(Refused, match="Cannot copy out of meta tensor"):
            surface.answer(CALL)
        assert pid(surface) == before


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_jaxs_precision_is_that_of_its_surface_and_comes_back() -> None:
    import jax

    from conv1d_cts.adapters import jax_adapter

    assert jax_adapter.surfaces_on("cpu") == {}
    assert list(jax_adapter.surfaces_on("gpu:1")) == ["tf32-off"]
    found = []
    for surface in ("functional", "tf32-off", "functional"):
        with jax_adapter.settings(surface, "cpu"):
            found.append(jax.config.jax_default_matmul_precision)
    assert found == [None, "highest", None]
