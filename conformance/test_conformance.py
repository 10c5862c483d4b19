"""Chapter CONF: the backend itself computes, and its limits are exact."""

from __future__ import annotations

import re
from dataclasses import replace

from conv1d_cts.adapters import devices
from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Answer, Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.probing import features
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.values import VJP, non_empty, operand_names, small_zeros

_NUMBER = re.compile(r"\d+")


def _is_there(asked: str, told: str, exact: bool) -> bool:
    """Whether a result that says it is on `told` is on the device asked for.

    An adapter that names devices itself does so `exact`ly. Elsewhere a framework's own words are read: "device:GPU:1".
    What says nothing is believed to be on the processor, and nowhere else.
    """
    if exact or devices.same(asked, told):
        return devices.same(asked, told)
    if not told:
        return devices.is_cpu(asked)
    words = (devices.kind(asked), *(("cuda", "gpu") if devices.kind(asked) in ("cuda", "gpu") else ()))
    numbers = _NUMBER.findall(told) or ["0"]
    return any(word in told.lower() for word in words) and numbers[-1] == devices.number(asked)


def _require_own_results(surface: Surface, answer: Answer) -> str:
    """Each result is of the backend's own array type, on the device asked for; what they are, in words."""
    backend, description = surface.backend, surface.backend.describe()
    packages = {description["native"]} if description["native"] else set(description["versions"])
    for type_name in answer.types:
        if type_name.partition(".")[0] not in packages:
            raise Violation(f"the result is a {type_name}", f"an array of {', '.join(sorted(packages))}", type_name)
    for told in answer.devices:
        if not _is_there(backend.device, told, description["names_devices"]):
            where = told or "a device that nobody names"
            raise Violation(f"the result is on {where}, not on {backend.device}", backend.device, told)
    where = ", ".join(sorted({*answer.devices} - {""})) or "a device it does not name"
    return f"{', '.join(sorted(set(answer.types)))} on {where}"


def computed_by_the_backend(surface: Surface, case: Case) -> str:
    """The result is of the backend's own array type, on the device asked for, and neither NumPy nor we computed it."""
    answer = surface.answer(replace(call_of(case, operands(case)), witnessed=True))
    description = surface.backend.describe()
    packages = {description["native"]} if description["native"] else set(description["versions"])
    found = _require_own_results(surface, answer)
    if "numpy" not in packages and answer.called:
        raise Violation(f"the adapter computes with {', '.join(answer.called)}", "the backend itself", answer.called)
    return found


def gradients_by_the_backend(surface: Surface, case: Case) -> str:
    """The same of each gradient, but for who computed it: its type, and the device that it is on."""
    return _require_own_results(surface, surface.answer(call_of(case, operands(case), "vjp", operand_names(case))))


def _few(case: Case) -> bool:
    return non_empty(case) and case.seed % 5 == 0


test_conf_1_provenance = tries("CONF-1", computed_by_the_backend, _few)
test_conf_1_provenance_of_gradients = tries(
    "CONF-1", gradients_by_the_backend, lambda c: _few(c) and small_zeros(c), extra=VJP, minimum=0
)  # where there are no gradients, the results prove it alone


def feature_is_there(surface: Surface, case: Case) -> None:
    """A feature outside every limit works; one inside is refused, which the engine sees to."""
    judge.same_shape(surface.conv1d(case, operands(case)), case.geometry.y_shape, "y")


test_conf_2_limits = as_test(Check("CONF-2", feature_is_there, lambda cases: (case for _, case in features())))
