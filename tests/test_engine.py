"""The engine that judges: what becomes of holding, failing, refusing, limits, deviations and vacuous checks."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.backend import Backend, Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.process import Limits
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.ledger import Limit, LimitRecord, Tally, overall, row
from conv1d_cts.conformance.plugin import packed
from conv1d_cts.conformance.pool import FLOATS, PROFILES, pool
from conv1d_cts.conformance.test_invariances import same_in_another_process
from conv1d_cts.conformance.together import Together
from conv1d_cts.conformance.trial import Trial
from conv1d_cts.conformance.values import forward_is_exact
from conv1d_cts.spec.geometry import Geometry
from tests.adapter_files import adapter_file

POOL = tuple(c for c in pool(PROFILES["quick"], 0, FLOATS) if c.padding_mode == "zeros" and c.geometry.l_out)[:60]


@pytest.fixture
def trial_of(tmp_path: Path) -> Iterator[Any]:
    backends = []

    def make(fault: str = "pass", limits: tuple[Limit, ...] = (), deviations: tuple[Deviation, ...] = ()) -> Trial:
        path = adapter_file(tmp_path, fault)
        backends.append(Backend(AdapterSource(path.stem, path=str(path)), limits=Limits(call_seconds=15)))
        return Trial(Surface(backends[-1], "functional"), POOL, 20, limits, deviations)

    yield make
    for backend in backends:
        backend.close()


def check(**options: Any) -> Check:
    return Check("OP-1", forward_is_exact, lambda cases: cases, **options)


def deviation(when: str, kind: str = "fail", **more: Any) -> Deviation:
    return Deviation(("OP-1",), ("functional",), Condition(when), kind, "known", "raise SystemExit(1)", **more)


WRONG_FOR_STRIDE = "return correct.conv1d(x, w, b, **parameters) + (parameters['stride'] > 1)"


def test_a_correct_backend_passes(trial_of: Any) -> None:
    tally = trial_of().run(check())
    assert (tally.verdict, tally.counts["held"]) == ("pass", len(POOL))


def test_a_failure_is_confirmed_and_shrunk(trial_of: Any) -> None:
    tally = trial_of(WRONG_FOR_STRIDE).run(check())
    assert tally.verdict == "fail"
    case = tally.failure["case"]
    assert (case["n"], case["c_in"], case["c_out"], case["kernel"], case["stride"]) == (1, 1, 1, 1, 2)
    assert tally.failure["confirmed"] == "fresh process"


def test_a_crash_is_shrunk_to_its_cause(trial_of: Any) -> None:
    length = max(c.geometry.length for c in POOL)
    patient = replace(trial_of(f"length == {length} and __import__('os').abort()"), shrink_seconds=180)
    tally = patient.run(check())
    assert tally.verdict == "crash"
    assert tally.failure["message"] == "crash: SIGABRT"
    case = tally.failure["case"]
    assert (case["n"], case["c_in"], case["c_out"], case["length"], case["kernel"]) == (1, 1, 1, length, 1)


def test_a_failure_that_does_not_repeat_needs_history(trial_of: Any) -> None:
    tally = trial_of("return correct.conv1d(x, w, b, **parameters) + (calls == 20)").run(check())
    assert tally.verdict == "fail"
    assert tally.failure["confirmed"] == "needs history"
    assert len(tally.failure["history"].splitlines()) == 19


def test_the_history_of_a_failure_is_the_calls_that_it_needs(trial_of: Any) -> None:
    spoiled = "global bad; bad = globals().get('bad') or parameters['stride'] == 2; bad and length == 9 and os.abort()"
    backend = trial_of(f"import os; {spoiled}")
    plain = Case(Geometry(1, 1, 1, 5, 1))
    strided, deadly = plain.with_geometry(length=7, stride=2), plain.with_geometry(length=9)
    backend = replace(backend, cases=(plain, strided, plain.with_geometry(length=6), deadly), shrink_seconds=180)
    tally = backend.run(check())
    assert (tally.verdict, tally.failure["confirmed"]) == ("crash", "needs history")
    assert tally.failure["case"]["length"] == 9
    (line,) = tally.failure["history"].splitlines()
    assert line.startswith("1. conv1d on functional: x float32[1, 1, 7], ")
    assert "stride=2" in line


def test_a_failure_that_is_not_seen_again_says_so(trial_of: Any, tmp_path: Path) -> None:
    once = (
        f"p = r'{tmp_path}/once'; import os; first = not os.path.exists(p); open(p, 'w').close(); first and os.abort()"
    )
    tally = trial_of(once).run(check())
    assert (tally.verdict, tally.failure["confirmed"]) == ("crash", "not repeated")
    assert "history" not in tally.failure


def test_a_refusal_of_a_legal_call_fails_unless_the_clause_allows_it(trial_of: Any) -> None:
    refuses = "exec('raise ValueError(1)')"
    assert trial_of(refuses).run(check()).verdict == "fail"
    assert trial_of(refuses).run(check(may_refuse=True)).verdict == "refused"


def test_a_limit_is_tried_and_holds_or_is_stale(trial_of: Any) -> None:
    limit = Limit(Condition("stride > 1"), "no strides")
    refusing = trial_of("exec('raise ValueError(1)') if parameters['stride'] > 1 else None", (limit,))
    held = refusing.run(check())
    assert held.verdict == "pass"
    assert held.limits[limit] == LimitRecord(refused=check().minimum)
    worked = trial_of("pass", (limit,)).run(check()).limits[limit].worked
    assert worked is not None
    assert worked["message"] == "worked"


def test_several_cases_are_inside_a_limit_where_each_of_them_is(trial_of: Any) -> None:
    plain, strided = Case(Geometry(1, 1, 1, 7, 3)), Case(Geometry(1, 1, 1, 7, 3, stride=2))
    bundles = [Together((strided, plain)), Together((strided, strided))]
    limit = Limit(Condition("stride > 1"), "no strides")
    trial = trial_of("exec('raise ValueError(1)') if parameters['stride'] > 1 else None", (limit,))
    tally = trial.run(Check("INV-4", same_in_another_process, lambda cases: bundles, minimum=1))
    assert tally.verdict == "pass"
    assert tally.limits[limit] == LimitRecord(refused=1)


def test_nothing_but_limits_is_unsupported_and_too_few_examples_are_vacuous(trial_of: Any) -> None:
    everything = Limit(Condition("n >= 1"), "nothing works")
    assert trial_of("raise ValueError(1)", (everything,)).run(check()).verdict == "unsupported"
    assert trial_of().run(check(minimum=len(POOL) + 1)).verdict == "vacuous"


def test_what_several_checks_of_a_clause_failed_for_is_told_of_each_once() -> None:
    met = [("fail", "wrong"), ("", ""), ("crash", "died"), ("fail", "wrong"), ("fail", "too short")]
    tallies = [Tally("OP-1", "functional", 1, kind=kind, failure=kind and {"message": said}) for kind, said in met]
    found = row(tallies)
    assert (found["verdict"], found["evidence"]["message"]) == ("crash", "died")
    assert found["evidence"]["further"] == [
        {"verdict": "fail", "message": "wrong"}, {"verdict": "fail", "message": "too short"},
    ]  # fmt: skip
    assert "further" not in row(tallies[:2])["evidence"]


def test_a_check_wholly_outside_the_limits_leaves_the_verdict_to_the_others(trial_of: Any) -> None:
    held = trial_of().run(check())
    outside = trial_of("raise ValueError(1)", (Limit(Condition("n >= 1"), "nothing works"),)).run(check())
    found = row([held, outside])
    assert (found["verdict"], found["examples"]["unsupported"]) == ("pass", outside.counts["unsupported"])
    assert row([outside, outside])["verdict"] == "unsupported"
    silent = trial_of("raise ValueError(1)", (Limit(Condition("n >= 1"), "nothing works"),)).run(check(minimum=0))
    assert row([outside, silent])["verdict"] == "unsupported"
    assert row([held, Tally("OP-1", "functional", 0)])["verdict"] == "pass"
    assert row([Tally("OP-1", "functional", 0)])["verdict"] == "vacuous"
    assert row([outside, trial_of(WRONG_FOR_STRIDE).run(check())])["verdict"] == "fail"


def test_a_deviation_explains_what_its_condition_says_and_nothing_else(trial_of: Any) -> None:
    exact = trial_of(WRONG_FOR_STRIDE, (), (deviation("stride > 1"),)).run(check())
    assert exact.verdict == "deviation"
    assert exact.counts["deviating"] > 3
    narrow = trial_of(WRONG_FOR_STRIDE, (), (deviation("stride > 2"),)).run(check())
    assert narrow.verdict == "fail"
    assert narrow.failure["case"]["stride"] == 2
    other_kind = trial_of(WRONG_FOR_STRIDE, (), (deviation("stride > 1", "crash"),)).run(check())
    assert other_kind.verdict == "fail"


def test_a_deviation_that_no_longer_occurs_is_stale(trial_of: Any) -> None:
    tally = trial_of("pass", (), (deviation("stride > 1"),)).run(check())
    assert tally.verdict == "fail"
    assert "stale deviation" in tally.failure["message"]
    assert trial_of("pass", (), (deviation("stride > 1", by_chance=True),)).run(check()).verdict == "pass"


def test_a_deviation_that_matches_nothing_is_stale(trial_of: Any) -> None:
    assert trial_of("pass", (), (deviation("stride > 10000"),)).run(check()).verdict == "fail"


def test_the_recorded_cases_of_a_deviation_are_always_tried(trial_of: Any) -> None:
    plain: Case = POOL[0].with_geometry(length=1234, stride=1, padding=(0, 0))
    cases = tuple(plain.with_geometry(length=length).describe() for length in (1234, 1235))
    wrong = "return correct.conv1d(x, w, b, **parameters) + (length == 1235)"
    entry = deviation("length >= 1234", cases=cases)
    tally = trial_of(wrong, (), (entry,)).run(check())
    assert (tally.verdict, tally.met[entry], tally.counts["deviating"]) == ("deviation", 2, 1)
    assert trial_of(wrong, (), (replace(entry, cases=cases[:1]),)).run(check()).verdict == "fail"


def test_a_fault_of_the_backend_below_need_not_show(trial_of: Any) -> None:
    assert trial_of("pass", (), (deviation("stride > 1", inherited=True),)).run(check()).verdict == "pass"
    wrong = trial_of(WRONG_FOR_STRIDE, (), (deviation("stride > 1", inherited=True),)).run(check())
    assert wrong.verdict == "deviation"


def _by_length(surface: Surface, case: Case) -> str:
    return "long" if case.geometry.length > 8 else "short"


def test_a_mixture_of_behaviours_fails_where_the_clause_asks_for_one(trial_of: Any) -> None:
    mixed = Check("OP-1", _by_length, lambda cases: cases)
    assert trial_of().run(mixed).verdict == "pass"
    strict = replace(mixed, throughout=True)
    tally = trial_of().run(strict)
    assert (tally.verdict, tally.failure["confirmed"]) == ("fail", "fresh process")
    assert tally.failure["message"].startswith("a mixture: ")
    known = trial_of("pass", (), (deviation("length > 8"),)).run(strict)
    assert known.verdict == "deviation"
    assert known.counts["deviating"] == sum(case.geometry.length > 8 for case in POOL)
    assert known.counts["held"] == sum(case.geometry.length <= 8 for case in POOL)
    assert trial_of("pass", (), (deviation("n >= 0"),)).run(strict).verdict == "deviation"


def test_a_known_death_is_shown_three_times_and_no_more(trial_of: Any) -> None:
    deadly = trial_of("parameters['stride'] > 1 and __import__('os').abort()", (), (deviation("stride > 1", "crash"),))
    tally = deadly.run(check())
    assert tally.verdict == "deviation"
    assert tally.counts["deviating"] == 3
    assert tally.counts["held"] == sum(c.geometry.stride == 1 for c in POOL)


CORRUPTS = (
    "global bad; bad = globals().get('bad') or parameters['stride'] > 1; "
    "bad and parameters['stride'] == 1 and exec('raise OSError')"
)


def test_what_a_corrupting_call_leaves_behind_is_not_laid_on_others(trial_of: Any) -> None:
    corrupting = deviation("stride > 1", "crash", by_chance=True, corrupts=True)
    tally = trial_of(CORRUPTS, (), (corrupting,)).run(check())
    assert tally.verdict == "deviation"
    assert list(tally.deviating) == [corrupting]
    assert "corrupted before" in tally.deviating[corrupting]["message"]
    harmless = deviation("stride > 1", "crash", by_chance=True)  # one that reads what is not its own, say
    for recorded in ((), (harmless,)):
        assert trial_of(CORRUPTS, (), recorded).run(check()).verdict == "fail"


def _row(verdict: str, level: str = "MUST") -> dict[str, Any]:
    return {"verdict": verdict, "level": level}


@pytest.mark.parametrize(
    ("rows", "complete", "expected"),
    [
        ([_row("pass")], True, "conformant"),
        ([_row("pass"), _row("deviation")], True, "conformant with deviations"),
        ([_row("pass"), _row("fail", "SHOULD")], True, "conformant"),
        ([_row("deviation"), _row("crash")], True, "nonconformant"),
        ([_row("error"), _row("fail")], True, "nonconformant"),
        ([_row("error"), _row("pass")], True, "error"),
        ([_row("pass")], False, "partial"),
    ],
)
def test_the_verdict_on_a_backend(rows: list[dict[str, Any]], complete: bool, expected: str) -> None:
    assert overall(rows, complete) == expected


def test_a_clause_is_refused_where_all_of_its_checks_are() -> None:
    refused, held = Tally("INV-17", "functional", 1), Tally("INV-17", "functional", 1)
    refused.counts.update(refused=5)
    held.counts.update(held=2)
    assert row([refused])["verdict"] == "refused"
    assert row([refused, held])["verdict"] == "pass"
    assert row([refused, held])["examples"]["refused"] == 5


def test_a_row_shows_the_worst_of_its_checks_and_adds_their_counts() -> None:
    good, bad = Tally("OP-1", "functional", 1), Tally("OP-1", "functional", 1)
    good.counts.update(held=5)
    bad.counts.update(held=2, failed=1)
    bad.kind, bad.failure = "fail", {"message": "wrong"}
    shown = row([good, bad])
    assert (shown["verdict"], shown["examples"]["telling"], shown["evidence"]) == ("fail", 8, {"message": "wrong"})


def measured(of_bound: float, power: float, judged: int = 8) -> Accuracy:
    return Accuracy(of_bound, 0.5, f"y[{of_bound}]", power, judged)


def sized(dtype: str, kernel: int) -> dict[str, Any]:
    return {"dtype": dtype, "c_in": 4, "groups": 2, "kernel": kernel}


def test_the_worst_error_and_the_power_of_each_dtype_go_to_the_certificate() -> None:
    first, second = Tally("ACC-1", "functional", 1), Tally("ACC-1", "functional", 1)
    first.held(measured(0.25, 1e-7), sized("float32", 1))
    first.held(measured(0.123456, 1e-8), sized("float32", 3))
    first.held(measured(0.1, 1e-7), sized("float32", 4))
    second.held(measured(0.654321, 1e-16), sized("float64", 3))
    second.held(measured(0.3, float("inf")), sized("float16", 4))
    assert row([first, second])["evidence"]["accuracy"] == {
        "of_bound": 0.654, "ulps": 0.5, "at": "y[0.654321]", "case": sized("float64", 3),
        "power": {"float32": 1e-8, "float64": 1e-16},
        "shares": {"float32": {"2": 0.25, "8": 0.123}, "float64": {"8": 0.654}, "float16": {"8": 0.3}},
    }  # fmt: skip
    assert row([first, second])["verdict"] == "pass"


def test_an_example_without_a_bound_does_not_tell() -> None:
    tally = Tally("ACC-1", "functional", 1)
    tally.held(measured(0.0, float("inf"), judged=0), sized("bfloat16", 1))
    issued = row([tally])
    assert (issued["verdict"], issued["examples"]["run"], issued["examples"]["telling"]) == ("vacuous", 1, 0)


def test_what_a_worker_cannot_send_is_an_error_of_the_suite() -> None:
    whole = Tally("OP-1", "functional", 3, kind="fail", failure={"message": "wrong"})
    assert pickle.loads(packed(whole)) == whole
    lost = pickle.loads(packed(replace(whole, failure={"message": lambda: "of no module"})))
    assert (lost.clause, lost.surface, lost.kind) == ("OP-1", "functional", "error")
    assert "pickle" in lost.failure["message"]
