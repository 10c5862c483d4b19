"""A badge for each backend: an SVG of its own, and the JSON that badge services read."""

from __future__ import annotations

import json
from typing import Final

from conv1d_cts.reports.certificate import Certificate
from conv1d_cts.reports.rendering import environment
from conv1d_cts.reports.text import one_line

_COLOURS: Final = {
    "conformant": "#1a7f37",
    "conformant with deviations": "#8a6100",
    "nonconformant": "#c1292e",
    "partial": "#6e5494",
    "error": "#5f6b76",
}
_CHARACTER: Final = 7  # pixels: the mean advance of the badge's 11-pixel sans-serif, with room to spare


def svg(certificate: Certificate) -> str:
    """The badge as a picture, 20 pixels high; its title says the same in words."""
    label, message = _words(certificate)
    left, right = (_CHARACTER * len(text) + 10 for text in (label, message))
    template = environment().get_template("badge.svg.j2")
    return template.render(label=label, message=message, left=left, right=right, colour=_colour(certificate)) + "\n"


def endpoint(certificate: Certificate) -> str:
    """The badge as JSON, schema 1 of the endpoint badges of shields.io."""
    label, message = _words(certificate)
    badge = {"schemaVersion": 1, "label": label, "message": message, "color": _colour(certificate)}
    return json.dumps(badge, indent=2, sort_keys=True) + "\n"


def _words(certificate: Certificate) -> tuple[str, str]:
    backend = certificate["backend"]
    where = "" if backend["device"] == "cpu" else f" on {one_line(backend['device'], 20)}"
    return f"conv1d {one_line(backend['name'], 40)}{where}", certificate["verdict"]


def _colour(certificate: Certificate) -> str:
    return _COLOURS[certificate["verdict"]]
