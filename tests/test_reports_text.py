"""Nothing a backend said reaches a report as anything but visible text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from conv1d_cts.reports import text
from tests.reports_factory import HOSTILE

anything = st.text(st.characters(codec=None))


@given(anything)
def test_visible_text_has_no_control_characters_and_encodes(said: str) -> None:
    shown = text.visible(said)
    shown.encode("utf-8")
    assert all(c in "\n\t" or ord(c) >= 0x20 for c in shown)
    assert text.visible(shown) == shown


@given(anything, st.integers(10, 50))
def test_one_line_is_one_line_within_its_limit(said: str, limit: int) -> None:
    line = text.one_line(said, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


@given(anything)
def test_a_slug_is_safe_in_files_ids_and_fragments(said: str) -> None:
    name = text.slug(said)
    assert name.isascii()
    assert name
    assert set(name).isdisjoint("/\\ \"'<>&?#%:")


@given(anything)
def test_a_fence_cannot_be_closed_from_within(said: str) -> None:
    rendered = MarkdownIt("commonmark").parse(text.fenced(said))
    assert [token.type for token in rendered] == ["fence"]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_escaped_markdown_renders_as_itself(said: str) -> None:
    inline = MarkdownIt("commonmark", {"html": True}).enable("table").parse("x " + text.markdown(said))[1]
    assert "".join(child.content for child in inline.children or ()) == f"x {said}"


def test_a_long_text_says_how_much_more_there_is() -> None:
    assert text.shorten("x" * 1005, 5) == "xxxxx… (1,000 more characters in the certificate)"
    assert text.shorten("x" * 5, 5) == "x" * 5


def test_direction_marks_and_surrogates_are_spelt_out() -> None:
    assert "\\u202e" in text.visible(HOSTILE)
    assert "\\ud800" in text.visible(HOSTILE)
    assert "\\x1b" in text.visible(HOSTILE)
