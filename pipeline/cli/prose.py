"""Prints sentences: between words at a terminal's width, each on one line elsewhere, where programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_prose(console: Console, text: str, *, style: str | None = None) -> None:
    """Prints a text as it is, without markup. Paths and commands, which are copied, are printed otherwise: never
    broken."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
