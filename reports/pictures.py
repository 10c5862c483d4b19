"""Pictures by matplotlib, as SVG that stands in the page: no style of its own, black in the colour of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from markupsafe import Markup

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate
from conv1d_cts.reports.text import one_line
from conv1d_cts.spec.geometry import Geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"  # as matplotlib writes it; SVG 2 has a plain href
_COLOURS: Final = ("#3a80c2", "#d27a1e", "#2f9a6c", "#9468cc", "#c2556f", "#7d8a2e")  # seen on white and on black
WRONG: Final = "#d33f49"
_FAINT: Final = "#8a939c"
_LONGEST: Final = 48  # samples of a drawing
_WIDEST: Final = 128  # bits of one
_REFERENCE = re.compile(r"#([\w.-]+)")
_DECIMALS = re.compile(r"(\d+\.\d\d+)")
_CURVED = re.compile("[CQ]")
_STEP = re.compile(r"([MLz])(?: ([\d.-]+) ([\d.-]+))?")
_BITS = re.compile(r"\d{1,4}")
_ELEMENT = re.compile(r"\b(y|gx)\[([0-9, ]+)\]")


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG with the words that say the same."""

    title: str
    svg: Markup


def available() -> bool:
    """Whether matplotlib is installed: the extra `pictures`."""
    return find_spec("matplotlib") is not None


def of_backend(certificate: Certificate, name: str) -> Iterator[Picture]:
    """What a certificate holds for pictures: errors, bits, coverage; `name` tells its pictures from others'."""
    if not available():
        return
    title = one_line(f"{certificate['backend']['name']} {facts.version(certificate)}", 60)
    shares = _shares(certificate)
    if shares:
        yield _picture(
            f"{title}: largest error as a share of its bound",
            f"{name}:e",
            (5.2, 2.6),
            lambda a: _draw_shares(a, shares),
        )
    bits = list(_bits(certificate))
    if bits:
        size = (5.2, 0.55 + 0.24 * len(bits))
        yield _picture(f"{title}: bits that operands and sums keep", f"{name}:b", size, lambda a: _draw_bits(a, bits))
    coverage = certificate.get("coverage", {})
    if coverage:
        size = (5.2, 1 + 0.24 * len(coverage))
        met = "".join(
            f", {share['met']} of {share['of']} {which} of classes"
            for which, share in certificate.get("combinations", {}).items()
        )
        caption = f"{title}: cases tried, by parameter{met}"
        yield _picture(caption, f"{name}:c", size, lambda a: _draw_coverage(a, coverage))


def speed(certificates: Iterable[Certificate]) -> Iterator[Picture]:
    """How long each run took, and how many examples it tried."""
    runs = [
        (
            one_line(f"{c['backend']['name']} {facts.version(c)}", 40),
            float(c["run"].get("seconds", 0)),
            sum(row["examples"]["run"] for row in c["clauses"]),
        )
        for c in certificates
    ]
    if runs and available():
        size = (5.2, 0.7 + 0.24 * len(runs))
        yield _picture("Seconds of each run, and its examples", ":s", size, lambda a: _draw_speed(a, runs))


def of_case(case: Mapping[str, Any], message: str, name: str) -> Iterator[Picture]:
    """The input with its pads, the taps of the window at fault, and the output; nothing where that is too long."""
    geometry = _geometry(case) if available() else None
    if geometry is None:
        return
    found = _ELEMENT.search(message)
    wrong = (found[1], int(found[2].split(",")[-1])) if found else ("", 0)
    title = "The window at fault" if found else "The first window"
    yield _picture(title, f"{name}:d", (6.4, 1.15), lambda a: _draw_case(a, geometry, *wrong))


def _geometry(case: Mapping[str, Any]) -> Geometry | None:
    """That of a case, where it has one that can be drawn."""
    fields: dict[str, Any] = {name: case.get(name) for name in Geometry.__dataclass_fields__}
    padding = fields.pop("padding")
    if not all(isinstance(value, int) for value in fields.values()) or not isinstance(padding, str | list):
        return None
    try:
        geometry = Geometry(**fields, padding=padding if isinstance(padding, str) else tuple(padding))
        long = max(sum(geometry.pads) + geometry.length, geometry.l_out, geometry.kernel) > _LONGEST
    except (TypeError, ValueError):  # what a certificate says is not always a geometry
        return None
    return None if long else geometry


def _shares(certificate: Certificate) -> dict[str, dict[int, float]]:
    """By dtype and number of products, the largest share of all clauses and surfaces."""
    found: dict[str, dict[int, float]] = {}
    for row in certificate["clauses"]:
        for dtype, sizes in row["evidence"].get("accuracy", {}).get("shares", {}).items():
            best = found.setdefault(dtype, {})
            for size, share in sizes.items():
                best[int(size)] = max(share, best.get(int(size), 0.0))
    return found


def _draw_shares(axes: Axes, shares: Mapping[str, Mapping[int, float]]) -> None:
    from matplotlib.ticker import LogLocator

    for colour, (dtype, sizes) in zip(_COLOURS, sorted(shares.items()), strict=False):
        points = sorted((size, share) for size, share in sizes.items() if share > 0)
        alone = "o" if len(points) == 1 else ""  # a marker at each point would cost more than all the rest
        axes.plot(*zip(*points, strict=True), marker=alone, markersize=3, linewidth=1, color=colour, label=dtype)
    axes.axhline(1, color=WRONG, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="products in the sum, at most", ylabel="of the bound")
    axes.set_xscale("log", base=2)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(frameon=False, ncols=len(shares), loc="lower center", bbox_to_anchor=(0.5, 1))


def _bits(certificate: Certificate) -> Iterator[tuple[str, int, int]]:
    """Of y on the first surface, for each dtype: its name, the bits of its operands, those of its sums."""
    for row in certificate["arithmetic"]:
        quantity = next((q for q in row.get("quantities", ()) if q["quantity"] == "y"), None)
        if quantity is None or row["surface"] != certificate["backend"]["surfaces"][0]:
            continue
        found = [_BITS.match(str(quantity["facts"].get(key, ""))) for key in ("left operand bits", "sum bits")]
        if found[0] and found[1]:
            yield one_line(row["dtype"], 20), min(int(found[0][0]), _WIDEST), min(int(found[1][0]), _WIDEST)


def _draw_bits(axes: Axes, bits: Sequence[tuple[str, int, int]]) -> None:
    """Two bars a dtype, ruled into bits."""
    most = max(max(operands, sums) for _, operands, sums in bits)
    _cells(axes, [(0, line - 0.36, operands, 0.34) for line, (_, operands, _) in enumerate(bits)], _COLOURS[0])
    _cells(axes, [(0, line + 0.02, sums, 0.34) for line, (_, _, sums) in enumerate(bits)], _COLOURS[1])
    _cells(axes, [(bit, -0.5, 0, len(bits)) for bit in range(most)], "none", 0.4, edgecolor="black", alpha=0.25)
    axes.set_yticks(range(len(bits)), [name for name, _, _ in bits])
    axes.set(xlim=(0, most), ylim=(len(bits) - 0.5, -0.5))
    axes.set_xlabel("bits of the significand: of operands above, of sums below")


def _cells(
    axes: Axes, cells: Iterable[tuple[float, float, float, float]], colour: str, lw: float = 0, **edge: Any
) -> None:
    """Rectangles (x, y, width, height) as one shape, which takes a fraction of the bytes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in cells]
    axes.add_patch(
        PathPatch(Path.make_compound_path(*(Path(c, closed=True) for c in corners)), facecolor=colour, lw=lw, **edge)
    )


def _draw_coverage(axes: Axes, coverage: Mapping[str, Mapping[str, int]]) -> None:
    """One line a parameter, one bar a value, as high as the root of the number of cases: few are seen beside many."""
    values = sorted({int(value) for counts in coverage.values() for value in counts})
    most = max((number for counts in coverage.values() for number in counts.values()), default=1)
    bars = [
        (values.index(int(value)) - 0.4, line + 0.4, 0.8, -0.8 * (number / most) ** 0.5)
        for line, counts in enumerate(coverage.values())
        for value, number in counts.items()
    ]
    _cells(axes, bars, _COLOURS[2])
    axes.set_yticks(range(len(coverage)), list(coverage))
    axes.set_xticks(range(len(values)), [str(value) for value in values], rotation=90)
    axes.set(xlim=(-0.7, len(values) - 0.3), ylim=(len(coverage) - 0.5, -0.5))
    axes.set_xlabel("value, rounded up to a power of two; height: root of the cases")


def _draw_speed(axes: Axes, runs: Iterable[tuple[str, float, int]]) -> None:
    names, seconds, examples = zip(*runs, strict=True)
    bars = axes.barh(names, seconds, height=0.6, color=_COLOURS[0])
    axes.bar_label(bars, [f"{n:,} examples" for n in examples], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set_xlabel("seconds")


def _draw_case(axes: Axes, g: Geometry, result: str, at: int) -> None:
    """Input above, output below; `at` is an output of y, or a sample of gx."""
    lo, hi = g.pads
    windows = [at] if result != "gx" else [i for i in range(g.l_out) if _reads(g, i, at)]
    windows = [i for i in windows or [0] if i < g.l_out]
    taps = {i * g.stride + k * g.dilation - lo for i in windows for k in range(g.kernel)}
    boxes: dict[tuple[str, bool], list[tuple[float, float, float, float]]] = {}
    for position in range(-lo, g.length + hi):
        colour = WRONG if (result, at) == ("gx", position) else _COLOURS[0] if position in taps else "none"
        padded = not 0 <= position < g.length
        boxes.setdefault((colour, padded), []).append((position - 0.42, 0.64, 0.84, 0.72))
    for i in range(g.l_out):
        colour = WRONG if (result, at) == ("y", i) else _COLOURS[1] if i in windows else "none"
        boxes.setdefault((colour, False), []).append((i - 0.42, -0.36, 0.84, 0.72))
    for (colour, padded), places in boxes.items():
        _cells(axes, places, colour, 1, edgecolor=_FAINT, linestyle=":" if padded else "-")
    told = {(sample, 1) for sample in (0, *taps, g.length - 1) if 0 <= sample < g.length}
    for x, line in sorted(told | {(i, 0) for i in (0, *windows, g.l_out - 1) if 0 <= i < g.l_out}):
        axes.text(x, line, str(x), ha="center", va="center")
    axes.set(xlim=(-lo - 1.6, max(g.length + hi, g.l_out) + 0.6), ylim=(-0.6, 1.6))
    for line, name in enumerate(("y", "x")):
        axes.text(-lo - 1.0, line, name, ha="center", va="center")
    axes.set_axis_off()


def _reads(g: Geometry, output: int, sample: int) -> bool:
    return any(output * g.stride + k * g.dilation - g.pads[0] == sample for k in range(g.kernel))


def _picture(title: str, name: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> Picture:
    """Draw, and make of matplotlib's file a part of a page; its ids begin with `name`, which is the page's only one."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "conv1d-cts", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Picture(title, Markup(_inline(text.getvalue(), title, name)))


def _inline(text: str, title: str, prefix: str) -> str:
    """The SVG made small, without the style attributes that the page forbids, and with ids of its own."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        parent.tail = None
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    known = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    used = known & set(
        _REFERENCE.findall(" ".join(value for element in root.iter() for value in element.attrib.values()))
    )
    ids = {name: f"{prefix}{number}" for number, name in enumerate(sorted(used))}
    for element in root.iter():
        if element.attrib.get("id") not in used:
            element.attrib.pop("id", None)
        styles = (entry.partition(":") for entry in element.attrib.pop("style", "").split(";") if entry.strip())
        element.attrib.update({key.strip(): value.strip() for key, _, value in styles})
        for key, value in list(element.attrib.items()):
            if _said(element.tag.rpartition("}")[2], key, value):
                element.attrib[key] = _plain(key, value, ids)
            else:
                del element.attrib[key]
    root.attrib.update({"role": "img", "aria-label": title})
    _unwrap(root)
    svg = ElementTree.tostring(root, encoding="unicode")
    return svg.replace(f' xmlns:xlink="{_XLINK}"', "").replace(" xlink:href=", " href=").replace(" />", "/>")


def _unwrap(parent: ElementTree.Element) -> None:
    """Put the children of groups that say nothing in their place, and drop the empty ones."""
    for child in list(parent):
        _unwrap(child)
        if child.tag == f"{{{_SVG}}}g" and not child.attrib:
            position = list(parent).index(child)
            parent.remove(child)
            for offset, inner in enumerate(list(child)):
                parent.insert(position + offset, inner)
    parent.text = (parent.text or "").strip() or None


def _said(tag: str, key: str, value: str) -> bool:
    """Whether the attribute says more than the page's style, or than what a used shape says of itself."""
    if key.startswith("font") or value.startswith("rotate(-0 "):
        return False
    return tag != "use" or key not in ("stroke", "stroke-width")


def _plain(key: str, value: str, ids: Mapping[str, str]) -> str:
    """An attribute with the new ids, numbers to a tenth, and black in the colour of the text."""
    if key == "id" or "#" in value:
        value = ids.get(value, value) if key == "id" else _REFERENCE.sub(lambda m: f"#{ids.get(m[1], m[1])}", value)
        return value.replace("#000000", "currentColor")
    rounded = " ".join(_DECIMALS.sub(lambda m: f"{float(m[1]):.1f}".removesuffix(".0"), value).split())
    return _path(rounded) if key == "d" else rounded


def _path(d: str) -> str:
    """A path of straight lines in fewer letters: H and V along an axis, and no line back to where `z` leads."""
    if _CURVED.search(d):
        return d
    told, at, start = "", ("", ""), ("", "")
    steps = _STEP.findall(d)
    for (step, x, y), (then, _, _) in zip(steps, [*steps[1:], ("", "", "")], strict=True):
        if step == "z":
            told += "z"
        elif step == "M":
            told, start = f"{told}M{x} {y}", (x, y)
        elif then != "z" or (x, y) != start:
            told += f"V{y}" if x == at[0] else f"H{x}" if y == at[1] else f"L{x} {y}"
        at = (x, y)
    return told
