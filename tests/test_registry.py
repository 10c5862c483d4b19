"""Adapters by name, and by name and a word for them behind a colon."""

from __future__ import annotations

import pytest

from conv1d_cts.adapters import registry
from conv1d_cts.conformance.isolation.process import BackendProcess, Broken


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"array-api": "conv1d_cts.adapters.array_api", "numpy": "conv1d_cts.adapters.numpy_adapter"}
    sources = {name: registry.AdapterSource(name, module) for name, module in modules.items()}
    monkeypatch.setattr(registry, "known", lambda: sources)


def described(name: str) -> dict[str, object]:
    process = BackendProcess(registry.find(name), "cpu")
    try:
        return process.describe()
    finally:
        process.close()


@pytest.mark.usefixtures("installed")
def test_a_word_behind_a_colon_is_handed_to_the_adapter() -> None:
    own = described("array-api:array_api_strict")
    assert own["name"] == "array-api-strict"
    assert "uint8" in own["dtypes"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "complaint"), [("array-api", "needs a word"), ("numpy:here", "takes no word")])
def test_a_word_too_few_or_too_many_is_said(name: str, complaint: str) -> None:
    with pytest.raises(Broken, match=complaint):
        described(name)


@pytest.mark.usefixtures("installed")
def test_a_name_is_unknown_with_its_word() -> None:
    with pytest.raises(registry.UnknownBackendError, match="nearest: array-api"):
        registry.find("array-ap:cupy")
