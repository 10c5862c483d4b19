"""index.html: everything a certificate says is on it, and nothing a backend said is obeyed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.reports import evidence, facts, grid
from conv1d_cts.reports.certificate import Certificate, load, validate
from conv1d_cts.reports.page import page
from conv1d_cts.reports.rendering import markdown_html
from conv1d_cts.reports.summary import summary
from conv1d_cts.spec.clauses import clauses, prose
from tests.reports_factory import (
    ACCURACY,
    CASE,
    DEVIATION,
    FAILURE,
    HOSTILE,
    PROSE,
    make_certificate,
    make_clauses,
    make_row,
    make_set,
)

CLAUSES = make_clauses()
LIMIT = 2_000_000


class Reader(HTMLParser):
    """Collects what tests ask for: tags, ids, links within the page, the text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        self.hrefs = [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data


@pytest.fixture(scope="module")
def shown() -> Reader:
    return Reader(page(list(make_set().values()), ["old-cpu.json: certificate schema 7 is unknown"], CLAUSES, {}))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["conformant"], "This backend is certified."),
        (["nonconformant"], "This backend is not certified."),
        (["conformant", "conformant with deviations"], "Every backend here is certified."),
        (["conformant", "error"], "1 of 2 backends is certified."),
        (["partial", "error"], "None of 2 backends are certified."),
    ],
)
def test_the_headline_counts(verdicts: list[str], said: str) -> None:
    several = [make_certificate(f"backend{n}", verdict=verdict) for n, verdict in enumerate(verdicts)]
    assert f"<h1>{said}</h1>" in page(several, [], CLAUSES, {})


def test_the_first_lines_say_who_is_certified(shown: Reader) -> None:
    for line in (
        "2 of 5 backends are certified.",
        "Certified: every MUST clause that it supports holds.",
        "Certified, with recorded deviations from 2 clauses.",
        "Not certified: it violates 4 clauses of level MUST.",
        "Not certified: the run was cut short",
        "Not judged: the suite or the installation failed.",
        "crash: SHAPE-6 on functional: the process died of SIGSEGV",
        "old-cpu.json: certificate schema 7 is unknown",
    ):
        assert line in shown.text, line


def test_every_cell_leads_to_its_evidence_and_ids_are_unique(shown: Reader) -> None:
    assert len(shown.ids) == len(set(shown.ids))
    within = {href[1:] for href in shown.hrefs if href.startswith("#")}
    assert within <= set(shown.ids)
    assert {"torch-functional-GRAD-4", "GRAD-4", "jax:deviation-1"} <= within
    assert "tensorflow-channels-last-OP-1" in shown.ids  # a pass, which has no evidence: the cell itself


def test_a_clause_text_is_on_the_page_once() -> None:
    html = page(list(make_set().values()), [], CLAUSES, {})
    assert html.count("samples, <strong>always</strong>") == len(CLAUSES)


def test_failure_and_deviation_show_case_and_reproducer(shown: Reader) -> None:
    for text in (FAILURE["expected"], FAILURE["got"], FAILURE["reproducer"], DEVIATION["reason"], DEVIATION["when"]):
        assert str(text) in shown.text
    assert "length=7  kernel=3  stride=2" in shown.text
    assert DEVIATION["link"] in shown.hrefs


def test_what_another_check_of_the_clause_failed_for_is_told_as_well() -> None:
    further = {"verdict": "crash", "message": "the second fault", "case": CASE, "reproducer": "print('second')"}
    certificate = make_certificate(verdicts={"OP-2": {**FAILURE, "further": [further]}})
    for told in (page([certificate], [], CLAUSES, {}), summary([certificate], [], CLAUSES)):
        assert told.index("gx differs") < told.index("the second fault") < told.rindex("second")
    of_another = {"further": [{**further, "case": {**CASE, "dtype": "int8"}}]}
    assert facts.dtypes(make_row(CLAUSES["OP-2"], "layer", "fail", of_another)) == ["int8"]


def test_the_page_is_one_file_and_its_policy_allows_its_own_style_and_script_only(shown: Reader) -> None:
    tags = [tag for tag, _ in shown.tags]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"link", "img", "iframe", "object", "base"} & set(tags)
    assert not any(
        name.startswith("on") or name in ("style", "src") for _, attributes in shown.tags for name in attributes
    )
    policy = next(a["content"] for tag, a in shown.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-\S{44}'; script-src 'sha256-\S{44}'; base-uri 'none'", policy
    )


def hostile() -> Certificate:
    loud = {
        "message": HOSTILE + "x" * 1_000_000,
        "case": {HOSTILE: HOSTILE},
        "expected": HOSTILE,
        "got": HOSTILE,
        "confirmed": "needs history",
        "reproducer": HOSTILE,
        HOSTILE: [HOSTILE],
        "deviations": [{**DEVIATION, "reason": HOSTILE, "link": "javascript:alert(3)", "when": HOSTILE}],
    }
    surfaces = (HOSTILE, HOSTILE + "2")
    issued = make_certificate(HOSTILE, version=HOSTILE, device=HOSTILE, surfaces=surfaces, verdicts={"OP-1": loud})
    for table in (issued["arithmetic"][0], issued["limits"][0]):
        fields: Any = table
        fields.update(
            {key: HOSTILE for key in ("surface", "dtype", "class", "text", "when", "reason") if key in fields}
        )
    issued["run"] = {"started": HOSTILE, HOSTILE: HOSTILE}
    return issued


def test_hostile_strings_are_text() -> None:
    html = page([hostile(), hostile()], [HOSTILE], CLAUSES, {})
    html.encode("utf-8")
    assert len(html) < LIMIT
    read = Reader(html)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in read.tags}
    assert not any(href.startswith("javascript") for href in read.hrefs)
    assert "<script>alert(1)</script>" in read.text
    assert "{{ 7*7 }}" in read.text
    assert len(read.ids) == len(set(read.ids))


PUBLISHED = sorted((Path(__file__).parents[1] / "reports" / "published").glob("*-cpu/*.json"))


def test_fifteen_backends_of_two_surfaces_fit_two_megabytes() -> None:
    """The published certificates, of which three in four have long lists of deviations, several times over."""
    published = [load(path) for path in PUBLISHED]
    many = [{**published[n % len(published)]} for n in range(15)]
    for n, certificate in enumerate(many):
        surfaces = certificate["backend"]["surfaces"][:2]
        device = {"device": f"cuda:{n // len(published)}", "surfaces": surfaces}
        certificate["backend"] = certificate["backend"] | device
        certificate["clauses"] = [row for row in certificate["clauses"] if row["surface"] in surfaces]
    html = page([validate(certificate, "copy") for certificate in many], [], clauses(), prose())
    assert len(html.encode()) < LIMIT


def test_a_recorded_deviation_is_told_once_and_linked_from_each_of_its_cells(shown: Reader) -> None:
    assert shown.text.count(DEVIATION["when"]) == 2  # of jax and of torch
    assert shown.hrefs.count("#jax:deviation-1") == 1 + 2 * 2  # the first screen, and two clauses on two surfaces
    assert "PAD-5, VAL-8 on functional, padded" in shown.text


def test_what_several_checks_and_surfaces_met_is_one_finding_and_its_other_example_told_once() -> None:
    other = DEVIATION | {"examples": 3, "message": "y differs at 2 of 4 samples"}
    rows = [
        make_row(CLAUSES[clause], surface, "deviation", {"deviations": [entry, entry]})
        for clause, entry in (("PAD-1", DEVIATION), ("PAD-2", other))
        for surface in ("functional", "padded")
    ]
    certificate = make_certificate() | {"clauses": rows}
    known = evidence.recorded(certificate, "torch")
    told = [[block.text for block in evidence.blocks(certificate, row, known)] for row in rows]
    assert [[text.rpartition("(")[2] for text in texts if "examples)" in text] for texts in told] == [
        ["34 examples)"], ["34 examples)"], ["6 examples)"], ["6 examples)"],
    ]  # fmt: skip
    assert [other["message"] in texts for texts in told] == [False, False, True, False]


def test_the_prose_of_a_chapter_stands_before_its_clauses() -> None:
    html = page([make_certificate()], [], CLAUSES, PROSE)
    assert html.count('<details class="prose">') == 1
    told = html.index('A pad is <em>read</em>, as <a href="#PAD-1">PAD-1</a> says.')
    assert html.index('id="chapter-PAD"') < told < html.index('<article class="clause" id="PAD-1"')


def test_anchors_are_short_where_they_can_be_and_unique_where_they_must() -> None:
    def slugs(*certificates: Certificate) -> list[str]:
        return [panel.slug for panel in grid.panels(certificates)]

    torch, cuda = make_certificate("torch"), make_certificate("torch", device="cuda:0")
    older, jax = make_certificate("torch", version="2.12.1"), make_certificate("jax")
    assert slugs(torch, jax) == ["torch", "jax"]
    assert slugs(torch, cuda) == ["torch-cpu", "torch-cuda-0"]
    assert slugs(torch, older) == ["torch-cpu-2.13.0", "torch-cpu-2.12.1"]
    assert slugs(torch, torch) == ["torch-cpu-2.13.0", "torch-cpu-2.13.0.2"]


def test_a_clause_the_spec_does_not_have_is_shown_as_such() -> None:
    few = {"OP-1": CLAUSES["OP-1"]}
    chapters = grid.chapters(grid.panels([make_certificate()]), few, {})
    assert [chapter.key for chapter in chapters] == ["OP", "unknown"]
    assert len(chapters[1].rows) == len(CLAUSES) - 1
    assert "Clauses that this version of the spec does not have" in page([make_certificate()], [], few, {})


def test_a_clause_without_a_row_is_no_pass() -> None:
    issued = make_certificate(surfaces=("functional",))
    del issued["clauses"][0]
    chapter = grid.chapters(grid.panels([issued]), CLAUSES, {})[0]
    assert chapter.rows[0].cells == (None,)
    assert chapter.passed == ("9/9",)


def test_a_verdict_of_a_run_cut_short_says_so() -> None:
    issued = make_certificate(verdict="nonconformant", complete=False, verdicts={"OP-1": "fail"})
    sentence = grid.panels([issued])[0].sentence
    assert sentence == "Not certified: it violates 1 clause of level MUST. The run was cut short, so there may be more."


def test_a_limit_without_a_surface_is_one_of_any() -> None:
    issued = make_certificate()
    del issued["limits"][0]["surface"]
    assert "<tr><td>any<td>" in page([validate(issued, "torch")], [], CLAUSES, {})


def test_an_empty_folder_has_a_page() -> None:
    assert "No certificate was found." in page([], [], CLAUSES, {})


def test_a_clause_links_the_clauses_it_names_and_no_html_passes() -> None:
    html = markdown_html("See OP-2, NO-77 and `OP-1`. <b>x</b>", CLAUSES)
    assert '<a href="#OP-2">OP-2</a>, NO-77 and <code>OP-1</code>' in html
    assert "&lt;b&gt;" in html


def test_dtypes_whose_surfaces_disagree_name_them() -> None:
    issued = make_certificate()
    issued["arithmetic"] *= 2
    assert grid.panels([issued])[0].arithmetic == (("float32", "ieee"),)
    issued["arithmetic"] = [
        {"surface": s, "dtype": "float32", "class": c, "text": ""} for s, c in (("a", "ieee"), ("b", "tf32"))
    ]
    assert grid.panels([issued])[0].arithmetic == (("float32", "ieee on a, tf32 on b"),)


def test_the_worst_error_of_a_clause_is_on_its_cell() -> None:
    issued = make_certificate("torch")
    issued["clauses"][0]["evidence"] = {"accuracy": ACCURACY}
    shown = Reader(page([issued], [], CLAUSES, {}))
    assert "0.312 of its bound, 0.83 ulp, in y[0, 1, 5]" in shown.text
    assert "float32 1.2e-07, float64 4.4e-16" in shown.text
