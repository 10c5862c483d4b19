"""From templates and Markdown to HTML, and never a byte of it unescaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Container, Iterator
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from conv1d_cts.reports.text import shorten, visible

_LIMIT = 400
_ID = re.compile(r"\b([A-Z]+-[0-9]+)\b")
_HEADING_SHIFT = {f"h{level}": f"h{min(level + 2, 6)}" for level in range(1, 7)}


@cache
def environment() -> Environment:
    """The Jinja environment of the templates; autoescape is on and an undefined name is an error."""
    templates = Environment(
        loader=PackageLoader("conv1d_cts.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["visible"] = _visible
    return templates


def source(name: str) -> Markup:
    """A file of the templates as it is: a style or a script of ours."""
    folder = resources.files("conv1d_cts.reports") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def policy(style: str, script: str = "") -> str:
    """The Content-Security-Policy that allows this style and this script, by hash, and nothing else."""
    scripts = f" script-src '{_hash(script)}';" if script else ""
    return f"default-src 'none'; style-src '{_hash(style)}';{scripts} base-uri 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _visible(text: str) -> str:
    return visible(shorten(text, _LIMIT))


@cache
def _markdown() -> MarkdownIt:
    """Links are off: the chapters name clauses by id, and those become links here."""
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])


def markdown_html(text: str, clauses: Container[str]) -> Markup:
    """A clause's Markdown as HTML, raw HTML shown as text; ids of known clauses become links within the page."""
    parser = _markdown()
    tokens = parser.parse(text)
    for token in tokens:
        token.tag = _HEADING_SHIFT.get(token.tag, token.tag)
        token.children = [part for child in token.children or () for part in _linked(child, clauses)]
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _linked(token: Token, clauses: Container[str]) -> Iterator[Token]:
    if token.type != "text":
        yield token
        return
    for part in _ID.split(token.content):
        if part in clauses:
            yield Token("link_open", "a", 1, attrs={"href": f"#{part}"})
        yield Token("text", "", 0, content=part)
        if part in clauses:
            yield Token("link_close", "a", -1)
