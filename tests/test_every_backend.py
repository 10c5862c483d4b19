"""`tox -e all`: which environments certify, and what becomes of one that can't be installed."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from conv1d_cts import reports
from conv1d_cts.adapters import registry
from conv1d_cts.conformance.session import certificate_path
from tests.every_backend import backends, certify_all, reason
from tests.reports_factory import make_certificate

ROOT = Path(__file__).parent.parent
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")


def test_every_adapter_has_an_environment_and_no_other_environment_certifies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    any_namespace = {"array-api"}  # of which array-api-strict is one
    needs_a_gpu = {"cupy"}
    assert set(backends(TOX)) == set(project["entry-points"][registry.GROUP]) - any_namespace - needs_a_gpu


def test_what_is_for_a_gpu_is_certified_on_one() -> None:
    found = re.findall(r"^\[testenv:gpu-(\w+)\].*?^commands = conv1d-cts certify (\w+) (.*?)$", TOX, re.M | re.S)
    assert [name for name, _, _ in found] == [name for _, name, _ in found] == ["torch", "jax", "cupy"]
    assert {options for _, _, options in found} == {"--device gpu --out reports/out {posargs}"}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "note\nERROR: No matching distribution found for mlx (from https://host/simple)\nmlx: exit 1\n",
            "No matching",
        ),
        ("npm error code E404\nnpm error more\n", "npm error code E404"),
        ("tfjs: could not find npm\n", "tfjs: could not find npm"),
        ("", "tox said nothing"),
    ],
)
def test_the_reason_is_the_installers(output: str, said: str) -> None:
    assert said in reason(output)
    assert "://" not in reason(output)


def test_one_that_cannot_be_installed_is_an_error_and_the_others_are_unaffected(tmp_path: Path) -> None:
    def tox(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        name = arguments[2]
        assert arguments[3:] == ["--", "--out", str(tmp_path), "--profile", "quick"]
        if name == "mlx":
            return subprocess.CompletedProcess(arguments, 1, "", "ERROR: No matching distribution found for mlx\n")
        reports.dump(make_certificate(name=name), certificate_path(tmp_path, name, "cpu"))
        return subprocess.CompletedProcess(arguments, 0, "", "")

    codes = certify_all(["numpy", "mlx", "torch"], tmp_path, ["--profile", "quick"], 2, tox)
    assert codes == {"numpy": 0, "mlx": 3, "torch": 0}
    paths = reports.write_report(tmp_path)
    assert not paths.broken
    shown = {c["backend"]["name"]: c["verdict"] for c in paths.certificates}
    assert set(shown) == {"numpy", "mlx", "torch"}
    assert shown["mlx"] == "error"
    (row, *_) = reports.load(certificate_path(tmp_path, "mlx", "cpu"))["clauses"]
    assert row["evidence"]["message"] == "not installed: ERROR: No matching distribution found for mlx"


def test_a_certificate_of_an_earlier_run_is_no_result_of_this_one(tmp_path: Path) -> None:
    reports.dump(make_certificate(name="mlx"), certificate_path(tmp_path, "mlx", "cpu"))
    failing = subprocess.CompletedProcess([], 1, "", "ERROR: offline\n")
    assert certify_all(["mlx"], tmp_path, [], 1, lambda arguments: failing) == {"mlx": 3}
    assert reports.load(certificate_path(tmp_path, "mlx", "cpu"))["verdict"] == "error"
