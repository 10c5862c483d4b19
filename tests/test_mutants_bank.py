"""The bank itself: every mutant differs from the correct backend, on its own witness, at every seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conv1d_cts.adapters import numpy_adapter
from conv1d_cts.adapters.registry import AdapterSource, load
from conv1d_cts.conformance.backend import Backend as Process
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.values import forward_is_exact
from conv1d_cts.spec.geometry import Geometry
from tests.mutants.bank import CHAPTER_FILES, MUTANTS, Mutant
from tests.mutants.base import Backend
from tests.mutants.witness import REFUSED, Call, Isolated, observe

SEEDS = (0, 1, 2)
ROOT = Path(__file__).parents[1]
ADAPTER = str(ROOT / "tests" / "mutants" / "adapter.py")
CHAPTERS = {"operator", "shapes", "padding", "gradients", "transforms", "numerics", "special values", "validation"}
CHAPTERS |= {"layouts", "state", "process", "surfaces"}
PROCESS = [mutant for mutant in MUTANTS.values() if isinstance(mutant.witness(0), Isolated)]
OTHERS = [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS.values() if mutant not in PROCESS]


def test_the_bank_is_large_and_has_every_chapter() -> None:
    assert len(MUTANTS) >= 200
    assert {mutant.chapter for mutant in MUTANTS.values()} == CHAPTERS


def test_every_fault_is_one_line_that_names_its_source() -> None:
    for mutant in MUTANTS.values():
        assert "\n" not in mutant.fault, mutant.name
        assert mutant.fault.endswith(")."), mutant.name
        assert "(kind: " in mutant.fault or "#" in mutant.fault, mutant.name


def test_every_file_of_the_folder_is_in_the_bank() -> None:
    own = {"__init__", "adapter", "bank", "base", "isolated", "plan", "registry", "tape", "witness"}
    own |= {"blind.__init__", "blind.helpers"}
    folder = ROOT / "tests" / "mutants"
    files = {".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")}
    assert files - own == set(CHAPTER_FILES)


@pytest.mark.parametrize("mutant", OTHERS)
def test_mutant_differs_from_the_correct_backend(mutant: Mutant) -> None:
    for seed in SEEDS:
        backend, witness = mutant.build(seed)
        assert not isinstance(witness, Isolated)
        expected = observe(Backend(), witness)
        assert observe(backend, witness) != expected, seed
        assert observe(Backend(), witness) == expected


@pytest.mark.parametrize("mutant", OTHERS)
def test_the_seed_decides_the_thresholds(mutant: Mutant) -> None:
    for seed in SEEDS:
        assert observe(*mutant.build(seed)) == observe(*mutant.build(seed)) or mutant.name == "last_bit_by_process"


@pytest.mark.parametrize("mutant", OTHERS)
def test_correct_backend_is_the_reference_on_the_witness(mutant: Mutant) -> None:
    for seed in SEEDS:
        witness = mutant.witness(seed)
        if isinstance(witness, Call) and witness.data is None:
            assert observe(Backend(), witness) == observe(numpy_adapter, witness), seed


def test_process_mutants_end_or_outlast_their_process() -> None:
    pairs = [(mutant.name, seed) for mutant in PROCESS for seed in SEEDS]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.mutants.isolated"]
    done = subprocess.run(
        command,
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    outcomes = dict(zip(pairs, json.loads(done.stdout), strict=True))
    assert [pair for pair, outcome in outcomes.items() if outcome == "same"] == []
    assert {"signal 11", "signal 8", "signal 6", "exit 0", "hang"} <= set(outcomes.values())


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in PROCESS])
def test_correct_backend_survives_what_ends_a_process(mutant: Mutant) -> None:
    witness = mutant.witness(0)
    assert isinstance(witness, Isolated)
    assert observe(Backend(), witness.inner) == observe(numpy_adapter, witness.inner)


def test_a_mutant_is_an_adapter_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV1D_CTS_MUTANT", "gb_averaged")
    monkeypatch.setenv("CONV1D_CTS_MUTANT_SEED", "5")
    adapter = load("", ADAPTER)
    assert adapter.name == "gb_averaged"
    witness = MUTANTS["gb_averaged"].witness(5)
    assert observe(adapter, witness) not in (observe(Backend(), witness), REFUSED)


def test_the_adapter_file_plants_several_mutants(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("gb_averaged", "empty_batch_becomes_one")
    monkeypatch.setenv("CONV1D_CTS_MUTANT", ",".join(names))
    monkeypatch.setenv("CONV1D_CTS_MUTANT_SEED", "5")
    adapter = load("", ADAPTER)
    for name in names:
        witness = MUTANTS[name].witness(5)
        assert not isinstance(witness, Isolated)
        assert observe(adapter, witness) not in (observe(Backend(), witness), REFUSED)


def test_the_suite_can_call_the_correct_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the suite may ask of adapters has no name of the bank's own: every kill would be one of a refused call."""
    monkeypatch.delenv("CONV1D_CTS_MUTANT", raising=False)
    surface = Surface(Process(AdapterSource("correct", path=ADAPTER)), "functional")
    try:
        forward_is_exact(surface, Case(Geometry(2, 2, 3, 9, 3)))
    finally:
        surface.backend.close()


def test_the_adapter_file_is_correct_without_a_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONV1D_CTS_MUTANT", raising=False)
    adapter = load("", ADAPTER)
    assert adapter.name == "correct"
    assert observe(adapter, Call()) == observe(Backend(), Call())


def test_an_unknown_mutant_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV1D_CTS_MUTANT", "no_such_fault")
    with pytest.raises(LookupError, match="no_such_fault"):
        load("", ADAPTER)
