"""Strings of backends made harmless: a report shows everything a backend said and obeys none of it."""

from __future__ import annotations

import re
from typing import Final

SCRIPT: Final = 24_000  # characters: more than a script of ours has, for it is copied whole
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # invisible, and those that turn the reading direction
    "\ud800-\udfff\ufffe\uffff]"  # not characters: neither UTF-8 nor XML can hold them
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def visible(text: str) -> str:
    r"""The text with line ends made `\n` and every control character, direction mark and surrogate spelt out."""
    return _UNSAFE.sub(_spell, text.replace("\r\n", "\n").replace("\r", "\n"))


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of the text, then how many more the certificate holds."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters in the certificate)"


def one_line(text: str, limit: int) -> str:
    """The text on one line of at most `limit` characters, cut with an ellipsis."""
    line = " ".join(visible(text[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def slug(text: str) -> str:
    """A name safe as a file name, an HTML id and a URL fragment; never empty."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unnamed"


def markdown(text: str) -> str:
    """The text on one line of Markdown that renders as itself, in a table cell as well."""
    escaped = _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(text: str, language: str = "text") -> str:
    """A Markdown code block that the text cannot close."""
    body = visible(text).rstrip("\n")
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"
