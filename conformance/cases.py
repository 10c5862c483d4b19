"""A case: geometry, dtype, data recipe, padding mode and layout. One immutable value that rebuilds every array."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import check_domain

_OF_GEOMETRY = tuple(field.name for field in fields(Geometry))


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a call needs, in integers and names. `seed` chooses the data, `recipe` its kind."""

    geometry: Geometry
    dtype: str = "float32"
    bias: bool = True
    padding_mode: str = "zeros"
    padding_value: float = 0
    recipe: str = "lattice"
    layout: str = "contiguous"
    seed: int = 0

    def __post_init__(self) -> None:
        check_domain(self.padding_mode, *self.geometry.pads, self.geometry.length)

    @property
    def padding_keywords(self) -> dict[str, Any]:
        """Mode and value, where the mode is not the operator's own zeros."""
        if self.padding_mode == "zeros":
            return {}
        value = {"padding_value": self.padding_value} if self.padding_mode == "constant" else {}
        return {"padding_mode": self.padding_mode, **value}

    @property
    def attributes(self) -> dict[str, Any]:
        """The keywords of the call."""
        g = self.geometry
        plain = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}
        return plain | self.padding_keywords

    def facts(self) -> dict[str, Fact]:
        """What a condition may ask about this case."""
        g = self.geometry
        extents: dict[str, Fact] = {
            name: getattr(g, name)
            for name in ("n", "c_in", "c_out", "length", "kernel", "stride", "dilation", "groups", "l_out", "span")
        }
        return extents | {
            "padding": g.padding if isinstance(g.padding, str) else "explicit",
            "lo": g.pads[0],
            "hi": g.pads[1],
            "dtype": self.dtype,
            "padding_mode": self.padding_mode,
            "bias": self.bias,
            "layout": self.layout,
            "recipe": self.recipe,
        }

    def with_geometry(self, **changes: Any) -> Case:
        """The same case with another geometry. Raises ValueError where that is not defined."""
        return replace(self, geometry=replace(self.geometry, **changes))

    def describe(self) -> dict[str, Any]:
        """The case as a flat dictionary for a certificate."""
        flat = {name: getattr(self.geometry, name) for name in _OF_GEOMETRY}
        flat |= {field.name: getattr(self, field.name) for field in fields(self) if field.name != "geometry"}
        return flat if isinstance(flat["padding"], str) else flat | {"padding": list(flat["padding"])}


def case_from(flat: dict[str, Any]) -> Case:
    """The case that `describe` gave; fields left out have their defaults. Raises TypeError for unknown fields."""
    of_geometry = {k: v for k, v in flat.items() if k in _OF_GEOMETRY}
    if isinstance(of_geometry.get("padding"), list):
        of_geometry["padding"] = tuple(of_geometry["padding"])
    return Case(Geometry(**of_geometry), **{k: v for k, v in flat.items() if k not in of_geometry})
