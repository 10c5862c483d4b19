"""summary.md, the terminal table, junit.xml, badges and diffs: one certificate, told to different readers."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from conv1d_cts.reports import badges, certificate, facts, history, write_report
from conv1d_cts.reports.certificate import validate
from conv1d_cts.reports.diff import diff
from conv1d_cts.reports.junit import junit
from conv1d_cts.reports.summary import summary
from conv1d_cts.reports.terminal import show
from tests.reports_factory import ACCURACY, FAILURE, HOSTILE, make_certificate, make_clauses, make_row, make_set

CLAUSES = make_clauses()
SET = list(make_set().values())
LOUD = {**FAILURE, "message": HOSTILE + "x" * 1_000_000, "got": "``````", "reproducer": "```\n# hello\n"}


def test_the_summary_has_a_row_for_each_backend_and_a_section_for_each_finding() -> None:
    text = summary(SET, ["old-cpu.json: not JSON"], CLAUSES)
    assert "| torch | 2.13.0 | cpu | **nonconformant** | 178 | 10 | 2 | 2 | 2 | 2 | 4 | crash: SHAPE\\-6 on" in text
    assert "| numpy | 2.4.6 | cpu | **conformant** | 100 | 0 | 0 | 0 | 0 | 0 | 0 | none |" in text
    assert "> **Not read:** old\\-cpu.json: not JSON" in text
    assert "> **Partial:** the run of tensorflow 2.21.0 on cpu was cut short." in text
    assert text.count("### GRAD-4 Empty batch") == 2
    assert text.count("the adapter raised ImportError") == 3  # in the table, for torch, for mlx
    assert "Not judged, for the suite or the installation failed: 100 rows." in text
    assert f"reproducer:\n\n```python\n{FAILURE['reproducer']}```" in text
    assert "**the extra zero of same" in text.partition("### Recorded deviations")[2]
    assert "**fail** (SHOULD: a warning)" in text


def test_what_could_not_even_begin_was_not_cut_short() -> None:
    broken = make_certificate("mlx", verdict="error", complete=False, verdicts=dict.fromkeys(CLAUSES, "error"))
    out = io.StringIO()
    show([broken], Console(file=out, width=80))
    assert "cut short" not in out.getvalue() + summary([broken], [], CLAUSES)


def test_hostile_strings_cannot_change_the_structure_of_the_summary() -> None:
    issued = make_certificate(HOSTILE, version=HOSTILE, device=HOSTILE, surfaces=(HOSTILE,), verdicts={"OP-1": LOUD})
    text = summary([issued], [HOSTILE], CLAUSES)
    text.encode("utf-8")
    assert len(text) < 20_000
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inline = [child.type for token in tokens for child in token.children or ()]
    assert not {"html_inline", "link_open", "image"} & set(inline)
    assert not [token for token in tokens if token.type == "html_block"]
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2", "h3"]
    assert len([token for token in tokens if token.type == "td_open"]) == 12 + 3


def test_the_table_fits_80_columns_and_is_plain_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    show(SET, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out.getvalue()
    assert lines[0].split() == [
        "backend",
        "version",
        "device",
        "verdict",
        "pass",
        "fail",
        "dev.",
        "uns.",
        "worst",
        "finding",
    ]
    assert len(lines) < 40
    for word in ("tensorflow", "2.13.0", "nonconformant", "178", "SIGSEGV", "warning"):
        assert word in out.getvalue()


def test_the_table_is_coloured_in_a_terminal_but_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = io.StringIO(), io.StringIO()
    show(SET, Console(file=coloured, width=120, force_terminal=True, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    show(SET, Console(file=plain, width=120, force_terminal=True, color_system="standard"))
    assert "\x1b[1;31m" in coloured.getvalue()
    assert "\x1b[1;31m" not in plain.getvalue()


def test_long_names_fold_and_leave_room_for_the_finding() -> None:
    out = io.StringIO()
    issued = make_certificate(
        "onnxruntime-directml", version="2.13.0+cu130.git0123abc", device="cuda:15",
        verdict="conformant with deviations", verdicts={"OP-1": "deviation"},
    )  # fmt: skip
    show([issued], Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "worst finding" in out.getvalue()
    assert "extra zero" in out.getvalue()


def test_hostile_strings_stay_within_the_table() -> None:
    out = io.StringIO()
    show(
        [make_certificate("[red]x[/]" + HOSTILE, version=HOSTILE, verdicts={"OP-1": LOUD})], Console(file=out, width=80)
    )
    assert "[red]" in "".join(out.getvalue().split())
    assert "\x1b" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_junit_counts_skips_apart_from_passes() -> None:
    root = ElementTree.fromstring(junit(SET, CLAUSES))
    suite = {s.attrib["name"]: s for s in root}["torch 2.13.0 on cpu"]
    assert [suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")] == ["200", "8", "2", "12"]
    cases = {(case.attrib["classname"], case.attrib["name"]): case for case in suite}
    crash = cases["torch.functional", "SHAPE-6 Output length where a remainder is left over"][0]
    assert (crash.tag, crash.attrib["type"]) == ("failure", "crash")
    assert crash.attrib["message"] == "crash: the process died of SIGSEGV"
    assert crash.text == FAILURE["reproducer"]
    assert len(cases["torch.functional", "OP-1 Output length where a remainder is left over"]) == 0


def test_junit_is_xml_whatever_the_backend_said() -> None:
    issued = make_certificate(HOSTILE, surfaces=(HOSTILE,), verdicts={"OP-1": LOUD})
    text = junit([issued], CLAUSES)
    assert len(text) < 50_000
    assert ElementTree.fromstring(text)[0].attrib["failures"] == "1"


def test_a_badge_says_the_verdict_in_words_and_escapes_the_name() -> None:
    issued = make_certificate(HOSTILE, verdict="conformant with deviations")
    root = ElementTree.fromstring(badges.svg(issued))
    assert root.attrib["aria-label"].endswith(": conformant with deviations")
    badge = json.loads(badges.endpoint(make_certificate("torch", verdict="nonconformant")))
    assert badge == {"schemaVersion": 1, "label": "conv1d torch", "message": "nonconformant", "color": "#c1292e"}


def test_a_diff_tells_gained_lost_and_changed_apart() -> None:
    old = make_certificate(
        version="2.12.1",
        verdict="nonconformant",
        surfaces=("functional",),
        verdicts={"OP-1": "fail", "OP-2": "fail", "OP-3": "refused", "OP-4": "fail"},
    )
    new = make_certificate(
        verdict="nonconformant", surfaces=("functional",), verdicts={"OP-2": "crash", "OP-4": "fail", "OP-5": "hang"}
    )
    found = diff(old, new)
    assert [c.clause for c in found.gained] == ["OP-1", "OP-3"]
    assert [c.clause for c in found.lost] == ["OP-5"]
    assert [(c.clause, c.old, c.new) for c in found.changed] == [("OP-2", "fail", "crash")]
    assert json.loads(found.to_json())["lost"][0] == {
        "clause": "OP-5", "surface": "functional", "old": "pass", "new": "hang", "note": "",
    }  # fmt: skip
    text = found.to_markdown()
    assert text.startswith("# torch 2.12.1 on cpu → torch 2.13.0 on cpu\n")
    assert text.index("## Lost (1)") < text.index("## Changed (1)") < text.index("## Gained (2)")
    assert "| OP\\-5 | functional | pass | hang |  |" in text


def test_a_diff_sees_findings_and_rows_that_come_and_go() -> None:
    old, new = make_certificate(surfaces=("functional",)), make_certificate(surfaces=("functional",))
    report = CLAUSES["OP-10"]
    old["clauses"][9] = make_row(report, "functional", evidence={"finding": "refused"})  # type: ignore[call-overload]  # a plain dict
    new["clauses"][9] = make_row(report, "functional", evidence={"finding": "exact"})  # type: ignore[call-overload]  # a plain dict
    del new["clauses"][0]
    found = diff(old, new)
    assert [(c.clause, c.new) for c in found.lost] == [("OP-1", "absent")]
    assert [c.note for c in found.changed] == ["was: refused; is: exact"]


def test_a_history_shows_hostile_strings_as_text() -> None:
    told = [make_certificate(HOSTILE, version=HOSTILE, surfaces=(HOSTILE,), verdicts=v) for v in ({}, {"OP-1": LOUD})]
    text = history.page(history.timelines(told), [HOSTILE])
    text.encode("utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "Lost (1)" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_versions_are_told_in_their_order_and_what_is_none_last() -> None:
    told = [make_certificate(version=version) for version in ("nightly", "2.10.0", "2.9.1", "2.10.0rc1")]
    (found,) = history.timelines(told)
    assert found.first == "2.9.1"
    assert [d.new.split()[1] for d in found.diffs] == ["2.10.0rc1", "2.10.0", "nightly"]


def test_a_failure_is_ready_for_an_issue_tracker() -> None:
    for reproduces, said in ((True, "it exited with 1"), (False, "IT DID NOT REPRODUCE THE FAULT")):
        text = summary([make_certificate(verdicts={"OP-1": {**LOUD, "reproduces": reproduces}})], [], CLAUSES)
        assert "\n````python\n```\n# hello\n````\n" in text
        assert "exits with 1 while the fault is there and with 0 when it is gone; " in text
        assert said in text
        assert "\n- torch 2.13.0 on cpu\n- Python 3.11.7, Linux\n" in text


def test_equal_certificates_have_an_empty_diff() -> None:
    found = diff(SET[2], SET[2])
    assert (found.gained, found.lost, found.changed) == ((), (), ())
    assert "No clause changed." in found.to_markdown()


def test_a_report_is_written_beside_the_certificates_and_written_again_the_same(tmp_path: Path) -> None:
    for name, issued in make_set().items():
        certificate.dump(issued, tmp_path / f"{name}.json")
    (tmp_path / "zzz.json").write_text("[]", encoding="utf-8")
    paths = write_report(tmp_path)
    first = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert [issued["backend"]["name"] for issued in paths.certificates] == [
        "jax",
        "mlx",
        "numpy",
        "tensorflow",
        "torch",
    ]
    assert paths.broken[0].startswith("zzz.json: not a certificate")
    assert {paths.index, paths.summary, paths.junit, *paths.badges} <= set(first)
    assert len(paths.badges) == 10
    assert write_report(tmp_path) == paths
    assert {path: path.read_bytes() for path in first} == first


def test_the_worst_errors_are_told_once_a_clause() -> None:
    nearer = {**ACCURACY, "of_bound": 0.5, "at": HOSTILE}
    issued = make_certificate("torch")
    for row in issued["clauses"]:
        if row["id"] == "ACC-1":
            row["evidence"] = {"accuracy": nearer if row["surface"] == "padded" else ACCURACY}
    assert [(a.clause, a.surface, a.of_bound) for a in facts.accuracies(validate(issued, "x"))] == [
        ("ACC-1", "padded", 0.5)
    ]
    text = summary([issued], [], CLAUSES)
    (line,) = [line for line in text.split("\n") if line.startswith("| torch | ACC\\-1 | padded |")]
    assert "| 0.5 | 0.83 |" in line
    assert line.endswith("| float32 1.2e\\-07, float64 4.4e\\-16 |")
    assert "<script>" not in line
    assert "Worst errors" not in summary([make_certificate("torch")], [], CLAUSES)
