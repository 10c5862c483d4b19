"""What goes wrong on devices alone: a fault that stays, memory that ends, errors that come late, settings that leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conv1d_cts import reports
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Refused, Violation, call_of
from conv1d_cts.conformance.beyond import Beyond, rows_beyond
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.faults import out_of_memory
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.judge import UNSEEN
from conv1d_cts.conformance.ledger import Tally, row
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.test_invariances import test_inv_3_forward as inv_3_forward
from conv1d_cts.conformance.test_operator import test_op_9_beyond_2_31_bytes as beyond_check
from conv1d_cts.conformance.test_state import test_inv_3_among_others as inv_3_among_others
from conv1d_cts.spec.geometry import Geometry
from tests.fake_device import fake_device
from tests.test_devices import CASE, on, session, verdicts

LONG = CASE.with_geometry(length=17)
CALL, LONG_CALL = (call_of(case, operands(case)) for case in (CASE, LONG))
STICKY = "if length == 17: lose('an illegal memory access was encountered')"
EXHAUSTED = "raise OutOfMemoryError('Tried to allocate 20.00 GiB')"
SHAPE_2 = [Case(Geometry(1, 1, 1, length, 3), seed=length) for length in (7, 17, 18, 19, 20)]


def source(path: Path) -> AdapterSource:
    return AdapterSource(path.stem, path=str(path))


def pid(surface: Any) -> int:
    return int(surface.backend.describe()["process"]["pid"])


def test_after_a_fault_that_stays_the_process_is_replaced_and_the_run_goes_on(tmp_path: Path) -> None:
    with on(source(fake_device(tmp_path, STICKY)), "cuda:0") as surface:
        before = pid(surface)
        with pytest.raises(
            Died, match="after this call the device fails every other one: RuntimeError: CUDA error"
        ) as info:
            surface.answer(LONG_CALL)
        assert (info.value.kind, info.value.lost) == ("crash", True)
        assert surface.answer(CALL).results[0] is not None
        assert pid(surface) != before


def test_a_fault_that_stays_is_found_within_a_sequence_and_where_the_call_succeeded(tmp_path: Path) -> None:
    late = "if length == 17: globals().update(lost='an illegal memory access was encountered')"
    for fault in (STICKY, late):
        with on(source(fake_device(tmp_path, fault)), "cuda:0") as surface:
            with pytest.raises(Died, match="illegal memory access"):
                surface.sequence([CALL, LONG_CALL, CALL])
            assert [type(a).__name__ for a in surface.sequence([CALL, CALL])] == ["Answer", "Answer"]


def test_a_plain_refusal_keeps_the_process(tmp_path: Path) -> None:
    with on(source(fake_device(tmp_path, "if length == 17: raise ValueError('no')")), "cuda:0") as surface:
        before = pid(surface)
        with pytest.raises(Refused, match="ValueError: no"):
            surface.answer(LONG_CALL)
        assert pid(surface) == before


_SCRIPT = """
{% set imports = "import numpy as np" %}
{% set definitions %}
lost = []
def placed(values): return np.array(values) if not lost else exec("raise RuntimeError(lost[0])")
def conv1d(x): return x if x.shape[-1] != 17 else (lost.append("an illegal memory access"), placed(0))
{% endset %}
{% macro array(values, dtype, device) %}placed({{ values }}){% endmacro %}
{% macro call(surface, b, stride, padding, dilation, groups, padding_mode=0, padding_value=0) %}conv1d(x){% endmacro %}
"""


def test_a_fault_that_stays_is_a_crash_of_its_case_alone(tmp_path: Path) -> None:
    (tmp_path / "fake.py.j2").write_text(_SCRIPT, encoding="utf-8")
    with session(fake_device(tmp_path, STICKY), device="gpu", profile="standard") as opened:
        found = verdicts(opened, "SHAPE-2", "OP-7")
        path = opened.finish(tmp_path, interrupted=False)
    assert found["SHAPE-2"]["verdict"] == "crash"
    assert found["SHAPE-2"]["evidence"]["case"]["length"] == 17
    assert found["SHAPE-2"]["evidence"]["confirmed"] == "fresh process"
    assert "no reproducer" not in found["SHAPE-2"]["evidence"]
    assert "and the device is lost" in found["SHAPE-2"]["evidence"]["reproducer"]
    assert found["SHAPE-2"]["evidence"]["reproduces"] is True
    assert reports.load(path)["verdict"] == "nonconformant"


def answered(surface: Any, case: Case) -> None:
    surface.conv1d(case, operands(case))


def run_on(opened: Any) -> dict[str, Any]:
    """What comes of a check on a few lengths, one of them 17."""
    tally = opened.run(Check("SHAPE-2", answered, lambda cases: SHAPE_2), "functional")
    return {"verdict": tally.verdict, **tally.failure}


def test_memory_that_ends_is_an_error_with_its_size_and_never_a_failure(tmp_path: Path) -> None:
    with session(fake_device(tmp_path, f"if length == 17: {EXHAUSTED}"), device="cuda:1") as opened:
        found = run_on(opened)
        path = opened.finish(tmp_path, interrupted=False)
    size = 4 * (17 + 3 + 1)  # float32: x, w and b
    assert found["verdict"] == "error"
    assert found["message"] == (
        f"cuda:1 has not enough memory beside operands of {size} bytes: OutOfMemoryError: Tried to allocate 20.00 GiB"
    )
    rows = reports.load(path)["clauses"]
    assert {row["verdict"] for row in rows} == {"error", "not run"}


def test_memory_that_earlier_calls_took_is_given_back_by_their_process(tmp_path: Path) -> None:
    with session(fake_device(tmp_path, f"if calls > 3: {EXHAUSTED}"), device="gpu") as opened:
        assert run_on(opened)["verdict"] == "pass"


def test_on_the_cpu_memory_that_ends_is_the_backends_own(tmp_path: Path) -> None:
    with session(fake_device(tmp_path, f"if length == 17: {EXHAUSTED}")) as opened:
        found = run_on(opened)
    assert (found["verdict"], found["case"]["length"]) == ("fail", 17)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("padding must not be negative"), False),
    ],
)
def test_memory_that_ends_is_told_from_other_errors(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) == memory


def test_a_late_error_belongs_to_the_call_that_made_it(tmp_path: Path) -> None:
    late = "if length == 17: fail_later('misaligned address')"
    with on(source(fake_device(tmp_path, late)), "cuda:0") as surface:
        with pytest.raises(Refused, match="misaligned address"):
            surface.answer(LONG_CALL)
        assert surface.answer(CALL).results[0] is not None
        kinds = [type(answer).__name__ for answer in surface.sequence([CALL, LONG_CALL, CALL])]
        assert kinds == ["Answer", "Refused", "Answer"]


def test_without_waiting_a_late_error_would_belong_to_another_call(tmp_path: Path) -> None:
    late = "if length == 17: fail_later('misaligned address')"
    impatient = fake_device(tmp_path, late, more="\n\ndel synchronize\n")
    with on(source(impatient), "cuda:0") as surface:
        kinds = [type(answer).__name__ for answer in surface.sequence([CALL, LONG_CALL, CALL])]
        assert kinds == ["Answer", "Answer", "Refused"]


_CHOOSING = """\
if length != globals().get("last"):
        globals().update(last=length, switches=globals().get("switches", 0) + 1)
    if switches % 3 == 0:
        y = correct.conv1d(np.asarray(x), np.asarray(w), None if b is None else np.asarray(b), **parameters)
        return placed(np.nextafter(y, np.float32(1e9)), at)"""


def test_an_algorithm_chosen_anew_after_other_geometries_is_seen_by_its_bits(tmp_path: Path) -> None:
    """Calls of one geometry in a row would have the same bits throughout."""
    with session(fake_device(tmp_path, _CHOOSING), device="gpu") as opened:
        in_a_row = opened.run(inv_3_forward.check, "functional")
        among_others = opened.run(inv_3_among_others.check, "functional")
    assert (in_a_row.verdict, among_others.verdict) == ("pass", "fail")
    assert "called again after others" in among_others.failure["message"]


_SURFACES = """

import contextlib

setting = "as it was"


def surfaces_on(device):
    return {"other": conv1d} if device != "cpu" else {}


@contextlib.contextmanager
def settings(surface, device):
    global setting
    before, setting = setting, f"{surface} on {device}"
    try:
        yield
    finally:
        setting = before
"""


def test_a_device_may_have_surfaces_of_its_own_whose_settings_do_not_leak(tmp_path: Path) -> None:
    told = "raise ValueError(setting)"
    path = fake_device(tmp_path, told, more=_SURFACES)
    with on(source(path), "cpu") as surface:
        assert surface.backend.describe()["surfaces"] == ["functional"]
    with on(source(path), "cuda:1") as surface:
        assert surface.backend.describe()["surfaces"] == ["functional", "other"]
        for name in ("other", "functional"):
            with pytest.raises(Refused, match=f"{name} on cuda:1"):
                surface.backend.answer(name, CALL)


WRONG = "y = correct.conv1d(np.asarray(x), np.asarray(w)); y[:, LAST:] += 1; return placed(y, at)"
SMALL = Beyond(l_out=16, limit=4096)


def test_rows_behind_the_limit_are_seen_where_they_are_wrong(tmp_path: Path) -> None:
    last = SMALL.case.geometry.c_out - 1
    assert SMALL.case.geometry.c_out * 16 * 4 == 4096 + 64
    with on(source(fake_device(tmp_path)), "cuda:0") as surface:
        assert rows_beyond(surface, SMALL) is None
    wrong = on(source(fake_device(tmp_path, WRONG.replace("LAST", str(last)))), "cuda:0")
    with wrong as surface, pytest.raises(Violation, match=f"channel {last} of y"):
        rows_beyond(surface, SMALL)
    with on(source(fake_device(tmp_path, EXHAUSTED)), "cuda:0") as surface:
        assert rows_beyond(surface, SMALL) is UNSEEN


@pytest.mark.parametrize(("device", "profile"), [("cpu", "thorough"), ("gpu", "quick")])
def test_large_results_are_for_accelerators_and_the_thorough_profile(tmp_path: Path, device: str, profile: str) -> None:
    with session(fake_device(tmp_path), device=device, profile=profile) as opened:
        tally = opened.run(beyond_check.check, "functional")
    assert (tally.verdict, sum(tally.counts.values())) == ("vacuous", 0)


def test_large_results_where_memory_is_lacking_leave_the_clause_to_its_other_checks(tmp_path: Path) -> None:
    with session(fake_device(tmp_path, f"if length > 2**14: {EXHAUSTED}"), device="gpu", profile="thorough") as opened:
        tally = opened.run(beyond_check.check, "functional")
        other = Tally("OP-9", "functional", 1)
        other.held(None, {})
    assert (tally.verdict, dict(tally.counts)) == ("vacuous", {"void": 1})
    assert row([tally, other])["verdict"] == "pass"
