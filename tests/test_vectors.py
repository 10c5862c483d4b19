"""Vectors: the corpus is what its seed gives, right results pass, and a wrong number anywhere fails."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from conv1d_cts.adapters import numpy_adapter
from conv1d_cts.cli import main
from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.vectors import corpus, numbers, results
from conv1d_cts.spec.clauses import clauses

SPEC = Path(__file__).parent.parent / "spec"
FOLDER = SPEC / "vectors"
VECTORS = results.read_vectors(FOLDER)
Answers = dict[str, dict[str, Any]]


def compute(vector: dict[str, Any]) -> dict[str, Any]:
    """What a reader of the page alone would compute: the reference, in the dtypes of the operands."""
    given = {
        name: numbers.from_json(operand, name).astype(dtype_of(operand["dtype"]))
        for name, operand in vector["operands"].items()
    }
    padding = vector["arguments"]["padding"]
    arguments = {**vector["arguments"], "padding": tuple(padding) if isinstance(padding, list) else padding}
    x, w, b = (given.get(name) for name in "xwb")
    try:
        found = {"y": numpy_adapter.conv1d(x, w, b, **arguments)}
    except (ValueError, TypeError) as error:
        return {"y": {"refused": str(error)}}
    names = [f"g{name}" for name in "xwb" if name in given]
    if names[0] in vector["expected"]:
        primals = tuple(given[name[1]] for name in names)
        gradients = numpy_adapter.vjp(lambda *p: numpy_adapter.conv1d(*p, **arguments), primals, given["cotangent"])
        found |= dict(zip(names, gradients, strict=True))
    return {name: numbers.to_json(found[name]) for name in vector["expected"]}


@pytest.fixture(scope="module")
def right() -> Answers:
    return {vector["id"]: compute(vector) for vector in VECTORS}


def check(tmp_path: Path, answers: Answers, **more: Any) -> tuple[int, str]:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": answers, **more}), encoding="utf-8")
    done = CliRunner().invoke(main, ["vectors", "--check", str(FOLDER), str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_versioned_corpus_is_what_its_seed_gives(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["vectors", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert (tmp_path / "new" / corpus.FILE).read_bytes() == (FOLDER / corpus.FILE).read_bytes()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 5_000_000


def test_another_seed_gives_other_vectors(tmp_path: Path) -> None:
    assert corpus.write(tmp_path, 1).read_bytes() != (FOLDER / corpus.FILE).read_bytes()


def test_every_clause_that_a_vector_can_try_is_tried_more_than_once() -> None:
    tried = [clause for vector in VECTORS for ids in vector["clauses"].values() for clause in ids]
    assert set(tried) <= set(clauses())
    assert min(tried.count(clause) for clause in set(tried)) >= 2
    assert {clause.partition("-")[0] for clause in tried} == {"OP", "SHAPE", "PAD", "GRAD", "ACC", "ERR"}
    assert len(set(tried)) >= 50


def test_the_reference_passes(tmp_path: Path, right: Answers) -> None:
    code, said = check(tmp_path, right)
    assert code == 0, said
    assert set(re.findall(r"^[A-Z]+-\d+ +(\w+)", said, re.MULTILINE)) == {"pass"}


def wrong(answer: Any) -> Any:
    """The answer, wrong in one element, in its shape, or by being none."""
    if "refused" in answer:
        return {"shape": [1, 1, 1], "data": ["0x1p+0"]}
    if not answer["data"]:
        return {"shape": [*answer["shape"], 1], "data": []}
    last = float.fromhex(answer["data"][-1])
    return {**answer, "data": [*answer["data"][:-1], numbers.to_hex(-last if last else 1.0)]}


@pytest.mark.parametrize("clause", sorted({c for v in VECTORS for ids in v["clauses"].values() for c in ids}))
def test_one_wrong_number_fails_its_clause(right: Answers, clause: str) -> None:
    part, vector = next((p, v) for v in VECTORS for p, ids in v["clauses"].items() if clause in ids)
    name = "y" if part == "y" else next(name for name in vector["expected"] if name != "y")
    answers = {vector["id"]: {**right[vector["id"]], name: wrong(right[vector["id"]][name])}}
    for given, verdict in ((right, "pass"), (answers, "fail")):
        (row,) = (r for r in results.judged([vector], results.Results(given, ())) if r.clause == clause)
        assert row.verdict == verdict
    assert row.failure.startswith(vector["id"])


def test_a_missing_result_is_not_a_pass(tmp_path: Path, right: Answers) -> None:
    code, said = check(tmp_path, {key: value for key, value in right.items() if key != "op-2-1"})
    assert code == 3
    assert re.search(r"^OP-2 +not run", said, re.MULTILINE)
    assert check(tmp_path, {})[0] == 3


def test_a_limit_is_unsupported_and_a_result_inside_it_is_a_failure(tmp_path: Path, right: Answers) -> None:
    forward = {key: {"y": value["y"]} for key, value in right.items() if "y" in value}
    limits = {"function == 'vjp'": "forward only"}
    code, said = check(tmp_path, forward, limits=limits)
    assert code == 0, said
    assert re.search(r"^GRAD-7 +unsupported", said, re.MULTILINE)
    code, said = check(tmp_path, right, limits=limits)
    assert code == 1
    assert "is a limit; in it a result came" in said


def test_a_legal_call_may_be_refused_only_where_the_clause_allows_it(tmp_path: Path, right: Answers) -> None:
    for clause, code in (("SHAPE-5", 0), ("OP-2", 1)):
        vector = next(v["id"] for v in VECTORS if clause in v["clauses"].get("y", ()))
        answers = deepcopy(right)
        answers[vector] = {name: {"refused": "no"} for name in answers[vector]}
        assert check(tmp_path, answers)[0] == code, clause


def test_a_number_of_a_wider_dtype_fails() -> None:
    with pytest.raises(Violation, match="is no float32"):
        numbers.in_dtype(np.array([0.1]), "float32", "y")
    with pytest.raises(Violation, match="is no float16"):
        numbers.in_dtype(np.array([70000.0]), "float16", "y")


@pytest.mark.parametrize("value", [3.0, -0.1, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), 0.0, -0.0])
def test_hexadecimal_floats_lose_nothing(value: float) -> None:
    (text,) = numbers.to_json(np.array([value]))["data"]
    (again,) = numbers.from_json({"shape": [1], "data": [text]}, "y")
    assert float(again).hex() == value.hex()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"result": {}}', "no object of backend, limits and results"),
        ('{"results": {"op-0-1": {}}}', "no vector 'op-0-1'"),
        ('{"results": {}, "limits": {"lenght > 1": ""}}', "unknown name 'lenght', nearest: length"),
        ('{"results": {"op-2-1": {"y": {"shape": [1]}}}}', "op-2-1: y is no array"),
        ('{"results": {"op-2-1": {"y": 5}}}', "op-2-1: y is no array"),
        ('{"results": {"op-2-1": {"y": {"shape": [2], "data": [1]}}}}', "op-2-1: y has 1 numbers for shape (2,)"),
    ],
)
def test_a_file_that_is_no_results_is_a_usage_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(main, ["vectors", "--check", str(FOLDER), str(path)])
    assert done.exit_code == 2
    assert said in done.output


def test_the_example_of_the_page_is_read() -> None:
    page = (SPEC / "annex-vectors.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    given = json.loads(example)
    assert set(given) == {"backend", "limits", "results"}
    assert numbers.from_json(given["results"]["op-1-1"]["y"], "y").tolist() == [[[3.0, 5.0]]]
    fields = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert all(set(vector) == fields for vector in VECTORS)
