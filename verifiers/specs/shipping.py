"""Puts into a specification the files that it names, so that the check can be made on another machine.

    CustomSpec("checks.py:is_polite") ─► CustomSpec("checks.py:is_polite", source="def is_polite(…): …")

Called where a problem leaves the process that read it. Modules are not shipped: they have to be installed where the
sandboxes are, and a check that does not find its module there is UNVERIFIABLE (missing_tool).
"""

from __future__ import annotations

from typing import TypeVar

from berry.verifiers.specs.union import AllOfSpec, AnyOfSpec, CustomSpec, Spec, WeightedSpec

S = TypeVar("S", bound=Spec)


def with_source_inlined(spec: S) -> S:
    """The same object where there is nothing to put in, or the file can't be read: then the check says so itself."""
    match spec:
        case CustomSpec():
            text = spec.source if spec.source is not None else spec.read()
            return spec if text == spec.source else spec.model_copy(update={"source": text})
        case AllOfSpec() | AnyOfSpec():
            parts = tuple(with_source_inlined(part) for part in spec.parts)
            same = all(a is b for a, b in zip(parts, spec.parts, strict=True))
            return spec if same else spec.model_copy(update={"parts": parts})
        case WeightedSpec():
            inner = tuple(with_source_inlined(part.verifier) for part in spec.parts)
            if all(a is b.verifier for a, b in zip(inner, spec.parts, strict=True)):
                return spec
            weighed = zip(inner, spec.parts, strict=True)
            return spec.model_copy(
                update={"parts": tuple(part.model_copy(update={"verifier": new}) for new, part in weighed)}
            )
        case _:
            return spec
