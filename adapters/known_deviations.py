"""Reading the deviations of a backend: adapters/deviations/<backend>.toml (chapter CONF).

A file holds entries, `[[deviation]]`, with the fields of `Deviation`. `[[include]]` takes over those of another file:
as they are, or, where a backend computes by means of another one, with `surfaces`, which says for the surfaces of
that one on which of ours its entries are to be expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import Condition, Fact
from conv1d_cts.spec.clauses import clauses

KINDS = ("fail", "crash", "hang", "exit")
_LISTS = ("clauses", "surfaces", "cpu_flags", "devices", "cases")


@dataclass(frozen=True, eq=False)  # an entry is itself: two of the same text are two entries
class Deviation:
    """A known departure: on `clauses` and `surfaces`, every example for which `when` holds may fail with `kind`.

    `versions` maps packages to specifiers, `cpu_flags` names instruction sets (`no amx_bf16`: one that must not be
    there; `avx512_vnni or avx_vnni`: one of them) and `devices` kinds of devices, without which the entry does not
    apply. An applying entry of which no example fails is stale, except `by_chance`: what memory nobody wrote happens to
    hold cannot be relied on to be wrong.
    An entry `corrupts` whose calls write what is not theirs: what fails later in their process and holds in a fresh one
    is their doing.
    `cases` are cases, as certificates print them, that every run tries: as many as it takes for each clause to meet one
    that shows the fault. An `inherited` entry is another backend's: which of its calls get there, and so which of its
    faults must show, is not ours to say, so it is never stale here.
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
    corrupts: bool = False
    link: str = ""
    cases: tuple[Mapping[str, Any], ...] = ()
    inherited: bool = False

    def covers(self, clause: str, surface: str, kind: str, facts: Mapping[str, Fact]) -> bool:
        """Whether a failure of that kind in a call with these facts was to be expected."""
        return clause in self.clauses and surface in self.surfaces and kind == self.kind and self.when.holds(facts)


def _entry(table: dict[str, Any], where: str) -> Deviation:
    unknown = set(table) - {f.name for f in fields(Deviation)} | set(table) & {"inherited"}
    missing = {"clauses", "surfaces", "when", "kind", "reason", "reproducer"} - set(table)
    if unknown or missing:
        raise ValueError(f"{where}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    if table["kind"] not in KINDS:
        raise ValueError(f"{where}: kind {table['kind']!r} is not one of {', '.join(KINDS)}")
    if not set(table["clauses"]) <= set(clauses()):
        raise ValueError(f"{where}: no clause {sorted(set(table['clauses']) - set(clauses()))}")
    return Deviation(
        **table | {name: tuple(table[name]) for name in _LISTS if name in table} | {"when": Condition(table["when"])}
    )


def parse(text: str, source: str) -> tuple[Deviation, ...]:
    """The entries of one file, then those it includes. Raises ValueError naming the entry outside the format."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source}: {error}") from None
    own = [_entry(table, f"{source}, entry {i}") for i, table in enumerate(tables.get("deviation", []), start=1)]
    return (*own, *chain.from_iterable(_included(table, source) for table in tables.get("include", [])))


def _included(table: dict[str, Any], source: str) -> Iterator[Deviation]:
    """The entries of another file: with `surfaces` those of the backend below, on ours that stand on its own."""
    name, surfaces = table.get("file", ""), table.get("surfaces")
    if not set(table) <= {"file", "surfaces"} or not _file(name).is_file():
        raise ValueError(f"{source}: include takes file, the name of one here, and surfaces, got {table}")
    for entry in parse(_file(name).read_text(encoding="utf-8"), f"{name}.toml"):
        if surfaces is None:
            yield entry
        elif ours := tuple(chain.from_iterable(surfaces.get(surface, ()) for surface in entry.surfaces)):
            yield replace(entry, surfaces=ours, inherited=True, cases=())


def _file(name: str) -> Traversable:
    """Where the deviations of a backend are recorded, or some that several share."""
    return resources.files("conv1d_cts.adapters.deviations") / f"{name}.toml"


def _is_told(said: str, cpu_flags: Collection[str]) -> bool:
    """Whether one of the alternatives holds: "avx512_vnni or avx_vnni", "no amx_bf16"."""
    return any((flag.removeprefix("no ") in cpu_flags) != flag.startswith("no ") for flag in said.split(" or "))


def _applies(deviation: Deviation, versions: Mapping[str, str], cpu_flags: Collection[str], device: str) -> bool:
    """Whether the entry speaks of every package's version, of the processor and of the device."""
    on_it = devices.kind(device) in deviation.devices
    on_it &= all(_is_told(flag, cpu_flags) for flag in deviation.cpu_flags)
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
    file = Path(path) if path else _file(backend)
    if not file.is_file():
        return ()
    return tuple(
        d for d in parse(file.read_text(encoding="utf-8"), file.name) if _applies(d, versions, cpu_flags, device)
    )
