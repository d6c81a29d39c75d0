"""Fills a page's template, and writes numbers for people. Texts are escaped; what is markup already is marked in the
template.

The filter `code` sets what stands between backticks, as in messages for a terminal, in type of its own.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape


def fill(template: str, **values: Any) -> str:
    """Makes the page of a file of report/templates."""
    environment = Environment(
        loader=PackageLoader("berry.pipeline.report"), autoescape=select_autoescape(["j2", "html"])
    )
    environment.filters["code"] = code
    return environment.get_template(template).render(**values)


def browser_file(name: str) -> str:
    """The text of a file of report/browser."""
    return (files("berry.pipeline.report.browser") / name).read_text(encoding="utf-8")


def code(text: str) -> Markup:
    """The text as markup, with its words between backticks as `code` elements."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # escaped before


def rounded(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never as a power of ten where it is 1 or above: 1,235 of 1234.6."""
    text = f"{value:,.{digits}g}"
    return f"{value:,.0f}" if "e+" in text else text
