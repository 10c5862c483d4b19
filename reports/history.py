"""Which release changed what: a folder of certificates in the order of versions, each compared with the last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from packaging.version import InvalidVersion, Version

from conv1d_cts.reports import facts
from conv1d_cts.reports.certificate import Certificate, CertificateError, load
from conv1d_cts.reports.diff import Diff, diff
from conv1d_cts.reports.rendering import environment, policy, source
from conv1d_cts.reports.text import one_line, slug, visible


@dataclass(frozen=True, slots=True)
class Timeline:
    """One backend on one device: the first release with its verdict, and what each later one changed."""

    title: str
    first: str
    verdict: str
    diffs: tuple[Diff, ...]

    @property
    def slug(self) -> str:
        """Its anchor on the page."""
        return slug(self.title)


def timelines(certificates: Iterable[Certificate]) -> tuple[Timeline, ...]:
    """A timeline for each backend and device, by name; releases by version, certificates of one version by time."""
    groups: dict[tuple[str, str], list[Certificate]] = {}
    for certificate in certificates:
        backend = certificate["backend"]
        groups.setdefault((backend["name"], backend["device"]), []).append(certificate)
    return tuple(_timeline(*key, sorted(group, key=_order)) for key, group in sorted(groups.items()))


def _order(certificate: Certificate) -> tuple[bool, Version, str, str]:
    """Versions in their order; what is no version comes after them, by its text."""
    text = facts.version(certificate)
    try:
        return False, Version(text), text, str(certificate["run"].get("started", ""))
    except InvalidVersion:
        return True, Version("0"), text, str(certificate["run"].get("started", ""))


def _timeline(name: str, device: str, releases: Sequence[Certificate]) -> Timeline:
    first = releases[0]
    return Timeline(
        one_line(f"{name} on {device}", 120),
        one_line(facts.version(first), 60),
        first["verdict"],
        tuple(diff(old, new) for old, new in pairwise(releases)),
    )


def between(old: Certificate, new: Certificate) -> Timeline:
    """The history of two certificates, in the order given."""
    return _timeline(new["backend"]["name"], new["backend"]["device"], (old, new))


def page(shown: Sequence[Timeline], broken: Sequence[str] = ()) -> str:
    """The HTML page: a table of releases for each backend, and under it the clauses that each of them changed."""
    style = source("page.css")
    template = environment().get_template("history.html.j2")
    lines = [visible(line) for line in broken]
    return template.render(style=style, policy=policy(style), timelines=shown, broken=lines)


def write_history(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write history.html into the folder, of every certificate in it and below. Raises OSError.

    Also returned: one line for each JSON file, badges apart, that is no certificate.
    """
    found, broken = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            if path.parent.name != "badges":
                found.append(load(path))
        except CertificateError as error:
            broken.append(str(error))
    index = folder / "history.html"
    index.write_text(page(timelines(found), broken), encoding="utf-8", newline="\n")
    return index, tuple(broken)
