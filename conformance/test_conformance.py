"""Chapter CONF: the backend itself computes, and its limits are exact."""

from __future__ import annotations

from dataclasses import replace

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.probing import features
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.values import non_empty

_DEVICE_WORDS = {"cuda": ("cuda", "gpu"), "gpu": ("cuda", "gpu")}


def computed_by_the_backend(surface: Surface, case: Case) -> str:
    """The result is of the backend's own array type, on the device asked for, and neither NumPy nor we computed it."""
    answer = surface.answer(replace(call_of(case, operands(case)), witnessed=True))
    description = surface.backend.describe()
    packages = {description["native"]} if description["native"] else set(description["versions"])
    for type_name in answer.types:
        if type_name.partition(".")[0] not in packages:
            raise Violation(f"the result is a {type_name}", f"an array of {', '.join(sorted(packages))}", type_name)
    if "numpy" not in packages and answer.called:
        raise Violation(f"the adapter computes with {', '.join(answer.called)}", "the backend itself", answer.called)
    asked = surface.backend.device.partition(":")[0]
    if answer.device and not any(word in answer.device.lower() for word in _DEVICE_WORDS.get(asked, (asked,))):
        raise Violation(f"the result is on {answer.device}, not on {asked}", asked, answer.device)
    return f"{', '.join(sorted(set(answer.types)))} on {answer.device or 'a device it does not name'}"


test_conf_1_provenance = tries("CONF-1", computed_by_the_backend, lambda c: non_empty(c) and c.seed % 5 == 0)


def feature_is_there(surface: Surface, case: Case) -> None:
    """A feature outside every limit works; one inside is refused, which the engine sees to."""
    judge.same_shape(surface.conv1d(case, operands(case)), case.geometry.y_shape, "y")


test_conf_2_limits = as_test(Check("CONF-2", feature_is_there, lambda cases: (case for _, case in features())))
