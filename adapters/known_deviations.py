"""Reading the deviations of a backend: adapters/deviations/<backend>.toml (chapter CONF)."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import Condition, Fact
from conv1d_cts.spec.clauses import clauses

KINDS = ("fail", "crash", "hang", "exit")


@dataclass(frozen=True, eq=False)  # an entry is itself: two of the same text are two entries
class Deviation:
    """A known departure: on `clauses` and `surfaces`, every example for which `when` holds may fail with `kind`.

    `versions` maps packages to specifiers, `cpu_flags` names instruction sets and `devices` kinds of devices, without
    which the entry does not apply. An applying entry of which no example fails is stale, except `by_chance`: what
    memory nobody wrote happens to hold cannot be relied on to be wrong. `case` is a case, as certificates print it,
    that is always tried.
    """

    clauses: tuple[str, ...]
    surfaces: tuple[str, ...]
    when: Condition
    kind: str
    reason: str
    reproducer: str
    versions: Mapping[str, str] = field(default_factory=dict)
    cpu_flags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    by_chance: bool = False
    link: str = ""
    case: Mapping[str, Any] = field(default_factory=dict)

    @property
    def corrupts(self) -> bool:
        """Whether a call inside the condition may harm later ones: it kills by chance, so what it wrote lies around."""
        return self.by_chance and self.kind == "crash"

    def covers(self, clause: str, surface: str, kind: str, facts: Mapping[str, Fact]) -> bool:
        """Whether a failure of that kind in a call with these facts was to be expected."""
        return clause in self.clauses and surface in self.surfaces and kind == self.kind and self.when.holds(facts)


def _entry(table: dict[str, Any], where: str) -> Deviation:
    unknown = set(table) - {f.name for f in fields(Deviation)}
    missing = {"clauses", "surfaces", "when", "kind", "reason", "reproducer"} - set(table)
    if unknown or missing:
        raise ValueError(f"{where}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    if table["kind"] not in KINDS:
        raise ValueError(f"{where}: kind {table['kind']!r} is not one of {', '.join(KINDS)}")
    if not set(table["clauses"]) <= set(clauses()):
        raise ValueError(f"{where}: no clause {sorted(set(table['clauses']) - set(clauses()))}")
    return Deviation(
        **table
        | {name: tuple(table[name]) for name in ("clauses", "surfaces", "cpu_flags", "devices") if name in table}
        | {"when": Condition(table["when"])}
    )


def parse(text: str, source: str) -> tuple[Deviation, ...]:
    """The entries of one file. Raises ValueError naming the entry for anything outside the format."""
    try:
        tables = tomllib.loads(text).get("deviation", [])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source}: {error}") from None
    return tuple(_entry(table, f"{source}, entry {i}") for i, table in enumerate(tables, start=1))


def _applies(deviation: Deviation, versions: Mapping[str, str], cpu_flags: Collection[str], device: str) -> bool:
    """Whether the entry speaks of every package's version, of the processor and of the device."""
    on_it = devices.kind(device) in deviation.devices and set(deviation.cpu_flags) <= set(cpu_flags)
    return on_it and all(
        package in versions and SpecifierSet(specifier, prereleases=True).contains(versions[package])
        for package, specifier in deviation.versions.items()
    )


def load(
    backend: str, versions: Mapping[str, str], cpu_flags: Collection[str] = (), path: str = "", device: str = "cpu"
) -> tuple[Deviation, ...]:
    """The deviations recorded for a backend at these versions on this device; from `path` where one is given.

    An entry that names no devices speaks of the CPU: what was seen there says nothing of others.
    """
    file = Path(path) if path else resources.files("conv1d_cts.adapters.deviations") / f"{backend}.toml"
    if not file.is_file():
        return ()
    return tuple(
        d for d in parse(file.read_text(encoding="utf-8"), file.name) if _applies(d, versions, cpu_flags, device)
    )
