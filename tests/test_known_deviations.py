"""Deviations as data: the format is strict, and so is what an entry covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from conv1d_cts.adapters import known_deviations
from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.conformance.cases import case_from

ENTRY = """
[[deviation]]
clauses = ["SHAPE-7"]
surfaces = ["functional"]
when = "c_in == 0"
kind = "fail"
reason = "the output channels are lost"
reproducer = "raise SystemExit(1)"
versions = { torch = "==2.13.0" }
"""


def test_an_entry_covers_its_clause_surface_kind_and_condition_only() -> None:
    (entry,) = known_deviations.parse(ENTRY, "torch.toml")
    assert entry.covers("SHAPE-7", "functional", "fail", {"c_in": 0})
    assert not entry.covers("SHAPE-7", "functional", "fail", {"c_in": 1})
    assert not entry.covers("SHAPE-7", "functional", "crash", {"c_in": 0})
    assert not entry.covers("SHAPE-7", "layer", "fail", {"c_in": 0})
    assert not entry.covers("OP-1", "functional", "fail", {"c_in": 0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "fail"', 'kind = "sad"', "kind 'sad'"),
        ('["SHAPE-7"]', '["SHAPE-77"]', "SHAPE-77"),
        ("reason", "because", "unknown fields"),
        ("kind = ", "inherited = true\nkind = ", "unknown fields"),
        ("[[deviation]]", '[[include]]\nfile = "nowhere"\n[[deviation]]', "include takes file"),
        ("[[deviation]]", '[[include]]\nfile = "jax"\nwhen = "n > 0"\n[[deviation]]', "include takes file"),
        ("c_in == 0", "cin == 0", "nearest: c_in"),
        ("[[deviation]]", "[[deviation]", "torch.toml"),
    ],
)
def test_anything_outside_the_format_is_refused_by_name(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        known_deviations.parse(ENTRY.replace(old, new), "torch.toml")


@pytest.mark.parametrize(("version", "count"), [("2.13.0", 1), ("2.13.0+cpu", 1), ("2.12.0", 0)])
def test_an_entry_speaks_of_its_versions_only(tmp_path: Path, version: str, count: int) -> None:
    path = tmp_path / "torch.toml"
    path.write_text(ENTRY)
    assert len(known_deviations.load("torch", {"torch": version}, path=str(path))) == count


@pytest.mark.parametrize(("flags", "count"), [(["avx2"], 0), (["avx2", "avx512_bf16"], 1)])
def test_an_entry_speaks_of_its_processors_only(tmp_path: Path, flags: list[str], count: int) -> None:
    path = tmp_path / "torch.toml"
    path.write_text(ENTRY + 'cpu_flags = ["avx512_bf16"]')
    assert len(known_deviations.load("torch", {"torch": "2.13.0"}, flags, str(path))) == count


@pytest.mark.parametrize(("flags", "count"), [(["avx512_bf16"], 1), (["avx512_bf16", "amx_bf16"], 0)])
def test_an_entry_may_speak_of_processors_without_something(tmp_path: Path, flags: list[str], count: int) -> None:
    path = tmp_path / "torch.toml"
    path.write_text(ENTRY + 'cpu_flags = ["avx512_bf16", "no amx_bf16"]')
    assert len(known_deviations.load("torch", {"torch": "2.13.0"}, flags, str(path))) == count


@pytest.mark.parametrize(("flags", "count"), [(["avx_vnni"], 1), (["avx512_vnni", "avx2"], 1), (["avx2"], 0)])
def test_an_entry_may_speak_of_processors_with_one_or_another(tmp_path: Path, flags: list[str], count: int) -> None:
    path = tmp_path / "torch.toml"
    path.write_text(ENTRY + 'cpu_flags = ["avx512_vnni or avx_vnni"]')
    assert len(known_deviations.load("torch", {"torch": "2.13.0"}, flags, str(path))) == count


def test_a_backend_without_a_file_has_no_deviations() -> None:
    assert known_deviations.load("no such backend", {}) == ()


def test_a_file_takes_over_the_entries_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = ENTRY.replace('["functional"]', '["functional", "conv2d"]') + "cases = [{ n = 1 }]\n"
    (tmp_path / "below.toml").write_text(below)
    monkeypatch.setattr(known_deviations, "_file", lambda name: tmp_path / f"{name}.toml")
    as_they_are = '[[include]]\nfile = "below"\n'
    (entry,) = known_deviations.parse(as_they_are, "above.toml")
    assert (entry.surfaces, entry.inherited, len(entry.cases)) == (("functional", "conv2d"), False, 1)
    mapped = as_they_are + 'surfaces = { functional = ["padded", "layer"] }\n' + ENTRY
    own, entry = known_deviations.parse(mapped, "above.toml")
    assert (own.surfaces, own.inherited) == (("functional",), False)
    assert (entry.surfaces, entry.inherited, entry.cases) == (("padded", "layer"), True, ())
    assert known_deviations.parse(as_they_are + 'surfaces = { padded = ["padded"] }\n', "above.toml") == ()


def test_the_entry_of_the_readme_is_in_the_format() -> None:
    page = (Path(known_deviations.__file__).parent / "README.md").read_text(encoding="utf-8")
    (text,) = (block.partition("```")[0] for block in page.split("```toml\n")[1:] if "[[deviation]]" in block)
    own = [entry for entry in known_deviations.parse(text, "README.md") if not entry.inherited]
    assert [(entry.clauses, entry.kind, len(entry.cases)) for entry in own] == [(("SHAPE-7",), "fail", 1)]


FILES = sorted((Path(known_deviations.__file__).parent / "deviations").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_recorded_deviations_are_well_formed(path: Path) -> None:
    entries = known_deviations.parse(path.read_text(encoding="utf-8"), path.name)
    assert entries
    for entry in entries:
        compile(entry.reproducer, f"{path.name}: {entry.reason}", "exec")
        assert "conv1d_cts" not in entry.reproducer
        assert "exit" in entry.reproducer.lower() or entry.kind != "fail"
        for case in entry.cases:
            case_from(dict(case))


def test_conditions_are_compared_by_their_text() -> None:
    assert Condition("n > 1") == Condition("n > 1")
    assert hash(Condition("n > 1")) == hash(Condition("n > 1"))
