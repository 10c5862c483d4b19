"""Each clause proven, by the tables that the runs keep: its checks have killed mutants, one of them theirs alone."""

from __future__ import annotations

from conv1d_cts.conformance.catalog import checks
from tests import alone
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


def test_every_clause_with_checks_has_a_mutant_of_its_own() -> None:
    assert set(alone.load()) == set(alone.tried())


def test_a_mutant_of_its_own_is_no_other_clause_s() -> None:
    checked = {name.rpartition(".")[2]: check.clause for name, check in checks()}
    killers: dict[str, set[str]] = {}
    for table in (load(), alone.load()):
        for clause, by_check in table.items():
            for mutants in by_check.values():
                for mutant in mutants:
                    killers.setdefault(mutant, set()).add(clause)
    for clause, by_check in alone.load().items():
        for check, mutants in by_check.items():
            assert checked.get(check) == clause, (clause, check)
            assert mutants, clause
            assert set(mutants) <= set(MUTANTS), clause
            assert all(killers[mutant] == {clause} for mutant in mutants), (clause, mutants)
