"""Fills a page's template: texts are escaped, and what is markup already is marked in the template."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape


def fill(template: str, **values: Any) -> str:
    """Makes the page of a file of report/templates."""
    environment = Environment(
        loader=PackageLoader("berry.pipeline.report"), autoescape=select_autoescape(["j2", "html"])
    )
    return environment.get_template(template).render(**values)
