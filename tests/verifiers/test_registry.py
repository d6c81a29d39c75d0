"""Kinds of verifier that other packages add: found, parsed, checked, and refused where they clash."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from berry.verifiers import registry
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.specs import extensions
from berry.verifiers.specs.base import Spec
from berry.verifiers.specs.union import VerifierSpec

ADAPTER: TypeAdapter[Any] = TypeAdapter(VerifierSpec)


class ShortSpec(Spec):
    type: Literal["short"] = "short"
    words: int


class OtherShortSpec(Spec):
    type: Literal["short"] = "short"


async def verify(request: CheckRequest, context: object) -> Verdict:
    spec = request.spec
    assert isinstance(spec, ShortSpec)
    return verdict(Reason.CORRECT if len(request.response.split()) <= spec.words else Reason.WRONG_ANSWER)


def fault(spec: ShortSpec) -> str | None:
    return "words must be >= 1" if spec.words < 1 else None


@pytest.fixture(autouse=True)
def _nothing_added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(extensions, "_registered", {})
    yield
    _forget()


def _forget() -> None:
    extensions.installed.cache_clear()
    registry._kind.cache_clear()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, kind: str, source: str) -> None:
    """Puts a package with one entry point on the import path, as pip would."""
    module = package.replace("-", "_")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(dedent(source))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[berry.verifiers]\n{kind} = {module}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)
    _forget()


POLITE = """
    from typing import Literal
    from berry.verifiers.base import Reason, verdict
    from berry.verifiers.specs.base import Spec

    class PoliteSpec(Spec):
        type: Literal["polite"] = "polite"
        word: str = "please"

    spec = PoliteSpec

    async def verify(request, context):
        return verdict(Reason.CORRECT if request.spec.word in request.response else Reason.WRONG_ANSWER)

    def fault(spec):
        return None if spec.word else "word is empty"
"""


async def test_a_registered_kind_is_read_written_and_checked_inside_combinations_too() -> None:
    registry.register_verifier(ShortSpec, verify, fault)
    registry.register_verifier(ShortSpec, verify, fault)  # again: nothing changes
    short = {"type": "short", "words": 2}
    for spec in (
        short,
        {"type": "all_of", "parts": [short, short]},
        {"type": "any_of", "parts": [short]},
        {"type": "weighted", "parts": [{"weight": 1, "verifier": short}]},
    ):
        read = ADAPTER.validate_python(spec)
        assert ADAPTER.validate_json(ADAPTER.dump_json(read)) == read
        assert ADAPTER.validate_python(read) == read
        assert pickle.loads(pickle.dumps(read)) == read
        assert registry.fault(read) is None
        async with Checker() as checker:
            assert (await checker.check(CheckRequest("p", read, "two words"))).passed
            assert (await checker.check(CheckRequest("p", read, "three words here"))).reason is Reason.WRONG_ANSWER
    broken = ADAPTER.validate_python({"type": "all_of", "parts": [short, {"type": "short", "words": 0}]})
    assert registry.fault(broken) == "parts[1]: words must be >= 1"


def test_errors_in_a_registered_kind_name_its_field() -> None:
    registry.register_verifier(ShortSpec, verify, fault)
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({"type": "short", "wrods": 2})
    assert {(error["loc"], error["type"]) for error in caught.value.errors()} == {
        (("short", "words"), "missing"),
        (("short", "wrods"), "extra_forbidden"),
    }


def test_an_unknown_kind_is_refused_with_a_list_of_all_that_are_there() -> None:
    registry.register_verifier(ShortSpec, verify)
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({"type": "shrot", "words": 2})
    (error,) = caught.value.errors()
    assert error["type"] == "union_tag_invalid"
    assert "'math'" in error["msg"]
    assert "'custom', 'short'" in error["msg"]
    with pytest.raises(LookupError, match="no verifier of kind 'lost' is here; there are math,"):
        registry.verifier_for(ShortSpec.model_construct(type="lost", words=1))


def test_two_that_register_one_name_are_refused_and_so_is_one_of_berrys_own() -> None:
    registry.register_verifier(ShortSpec, verify, origin="package-a")
    with pytest.raises(registry.ExtensionError, match="'short' is registered by both package-a and package-b"):
        registry.register_verifier(OtherShortSpec, verify, origin="package-b")

    class MathAgain(Spec):
        type: Literal["math"] = "math"

    with pytest.raises(registry.ExtensionError, match="'math' of package-c has the name of one of Berry's own"):
        registry.register_verifier(MathAgain, verify, origin="package-c")

    class Nameless(Spec):
        words: int

    with pytest.raises(registry.ExtensionError, match="give it a field `type"):
        registry.register_verifier(Nameless, verify)


async def test_an_installed_package_is_found_by_its_entry_point(tmp_path, monkeypatch) -> None:
    install(tmp_path, monkeypatch, "polite-verifier", "polite", POLITE)
    assert "polite" in registry.kinds()
    assert "polite_verifier" not in sys.modules  # listed, not loaded
    spec = ADAPTER.validate_python({"type": "polite"})
    async with Checker() as checker:
        assert (await checker.check(CheckRequest("p", spec, "yes please"))).passed
        assert not (await checker.check(CheckRequest("p", spec, "no"))).passed
    assert registry.fault(ADAPTER.validate_python({"type": "polite", "word": ""})) == "word is empty"


def test_two_installed_packages_with_one_name_are_refused_at_start_and_both_named(tmp_path, monkeypatch) -> None:
    install(tmp_path / "a", monkeypatch, "polite-verifier", "polite", POLITE)
    install(tmp_path / "b", monkeypatch, "kind-verifier", "polite", POLITE)
    with pytest.raises(registry.ExtensionError, match=r"(?=.*polite-verifier)(?=.*kind-verifier).*uninstall one"):
        Checker()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import a_module_that_nobody_has", "polite-verifier .* can't be imported"),
        ("spec = 1", "lacks `spec` .* or `verify`"),
        ("def verify(request, context): ...\nspec = dict", "is no verifier specification"),
        (dedent(POLITE).replace('"polite"', '"rude"'), "calls itself 'rude'"),
    ],
    ids=["does not import", "no verify", "no spec", "another name"],
)
def test_a_broken_package_is_one_error_that_names_it(tmp_path, monkeypatch, source: str, says: str) -> None:
    install(tmp_path, monkeypatch, "polite-verifier", "polite", source)
    with pytest.raises(ValidationError, match=says):
        ADAPTER.validate_python({"type": "polite"})
