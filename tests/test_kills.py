"""Each clause proven: some check of every clause has killed a mutant, by the table that the power runs keep."""

from __future__ import annotations

from conv1d_cts.conformance.catalog import checks
from tests.kills import load
from tests.mutants.bank import MUTANTS


def test_every_clause_with_checks_has_killed_a_mutant() -> None:
    assert {check.clause for _, check in checks()} <= set(load())


def test_the_table_names_what_there_is() -> None:
    known = {name.rpartition(".")[2]: check.clause for name, check in checks()}
    for clause, killers in load().items():
        for check, mutants in killers.items():
            assert known.get(check) == clause or clause == "CONF-2", check
            assert set(mutants) <= set(MUTANTS), check
            assert mutants, check
