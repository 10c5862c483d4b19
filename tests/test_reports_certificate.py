"""Certificates are read whole or refused by name, written canonically, and their facts follow from the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conv1d_cts.reports import certificate, facts
from tests.reports_factory import DEVIATION, EVIDENCE, FAILURE, HOSTILE, make_certificate, make_set


def test_the_published_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(certificate.schema())


def test_what_is_dumped_loads_again_and_has_the_same_bytes(tmp_path: Path) -> None:
    for name, issued in make_set().items():
        path = tmp_path / f"{name}.json"
        certificate.dump(issued, path)
        assert certificate.load(path) == issued
        assert certificate.dumps(certificate.load(path)).encode() == path.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    issued = make_certificate()
    backwards = dict(reversed(list(issued.items())))
    text = certificate.dumps(backwards)
    assert text == certificate.dumps(issued)
    assert text.startswith('{\n  "arithmetic": [\n')
    assert text.endswith("}\n")


def test_nan_is_never_written(tmp_path: Path) -> None:
    issued = make_certificate()
    issued["run"]["seconds"] = float("nan")
    with pytest.raises(ValueError, match="Out of range"):
        certificate.dump(issued, tmp_path / "torch-cpu.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"schema": NaN}', "not JSON"),
        (b'{"schema": 1e999}', "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "not a certificate"),
        (b'{"schema": 1}', "not a certificate"),
        (b'{"schema": "1"}', "not a certificate"),
        (b'{"schema": 2}', "certificate schema 2 is unknown; this version reads 1"),
    ],
)
def test_what_is_no_certificate_is_refused_by_name_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(certificate.CertificateError) as refusal:
        certificate.load(path)
    assert str(refusal.value).startswith(f"broken.json: {told}")
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(certificate.CertificateError, match=r"^none\.json: cannot be read: No such file"):
        certificate.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "good"),
        (("clauses", 0, "verdict"), "passed"),
        (("clauses", 0, "level"), "MAY"),
        (("clauses", 0, "id"), "shape-2"),
        (("clauses", 0, "examples", "run"), -1),
        (("clauses", 0, "evidence"), "x" * 1_000_000),
        (("clauses", 0, "evidence"), {"message": 7}),
        (("backend", "name"), ""),
        (("limits", 0, "verdict"), "unsure"),
        (("suite", "complete"), "yes"),
    ],
)
def test_a_schema_violation_names_its_place_shortly(path: tuple[Any, ...], value: object) -> None:
    issued: Any = json.loads(certificate.dumps(make_certificate()))
    target = issued
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(certificate.CertificateError) as refusal:
        certificate.validate(issued, "torch-cpu.json")
    assert str(path[0]) in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_broken_file_in_a_folder_is_reported_and_the_others_are_read_in_order(tmp_path: Path) -> None:
    for name in ("torch-cpu", "jax-cpu"):
        certificate.dump(make_certificate(name), tmp_path / f"{name}.json")
    (tmp_path / "aaa.json").write_text("{", encoding="utf-8")
    found, broken = certificate.load_folder(tmp_path)
    assert list(found) == ["jax-cpu", "torch-cpu"]
    assert len(broken) == 1
    assert broken[0].startswith("aaa.json: not JSON")


def test_every_row_is_counted_under_its_verdict() -> None:
    issued = make_set()["torch-cpu"]
    tally = facts.counts(issued)
    assert sum(tally.values()) == len(issued["clauses"]) == 200
    assert set(tally) == set(facts.VERDICTS)
    assert all(tally.values())
    assert facts.failed(issued) == 10
    assert facts.warnings(issued) == 2


def test_findings_come_worst_first() -> None:
    evidence = {**FAILURE, "message": "stale deviation: no longer occurs"}
    verdicts: dict[str, str | dict[str, Any]] = {
        "OP-1": "deviation", "OP-9": "fail", "OP-2": evidence, "OP-3": "error", "OP-4": "fail", "OP-5": "exit",
        "OP-6": "hang", "OP-7": "crash",
    }  # fmt: skip
    issued = make_certificate(verdict="nonconformant", surfaces=("functional",), verdicts=verdicts)
    found = facts.findings(issued)
    assert [finding.kind for finding in found] == list(facts.SEVERITY)
    assert found[0] == facts.worst(issued)
    assert found[0].line == "crash: OP-7 on functional: the process died of SIGSEGV"
    assert found[-2].line.startswith("fail (SHOULD): OP-9 on functional: wrong gradient")
    assert found[-1].line == f"deviation: OP-1 on functional: {EVIDENCE['deviation']['deviations'][0]['reason']}"


def test_the_worst_deviation_is_a_death_and_none_by_design() -> None:
    def entry(kind: str, reason: str) -> dict[str, Any]:
        return {"deviations": [{**DEVIATION, "kind": kind, "reason": reason}]}

    evidence = {
        "OP-1": entry("crash", "By design: asks."),
        "OP-2": entry("fail", "wrong"),
        "OP-3": entry("crash", "dies"),
    }
    issued = make_certificate(surfaces=("functional",), verdicts=dict.fromkeys(evidence, "deviation"))
    for row in issued["clauses"]:
        row["evidence"] = evidence.get(row["id"], {})
    assert [finding.text for finding in facts.findings(issued)] == ["dies", "wrong", "By design: asks."]


def test_a_clean_certificate_has_no_worst_finding() -> None:
    assert facts.worst(make_certificate()) is None


def test_a_finding_is_one_plain_line_whatever_the_backend_said() -> None:
    loud = {**FAILURE, "message": f"{HOSTILE}\n" + "x" * 1_000_000}
    finding = facts.worst(make_certificate(verdicts={"OP-1": loud}))
    assert finding is not None
    assert len(finding.line) < 250
    assert finding.line.isprintable()


def test_the_version_is_that_of_the_package_the_backend_is_named_after() -> None:
    issued = make_certificate("torch")
    assert facts.version(issued) == "2.13.0"
    issued["backend"]["versions"] = {"cuda": "13.0", "cupy": "14.1"}
    assert facts.version(issued) == "cuda 13.0, cupy 14.1"
