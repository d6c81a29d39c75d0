"""Formulas of a text, and what one of several rows ends with."""

from __future__ import annotations

import pytest

from berry.verifiers.formulas import last_row, math_segments


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"it is $x^2$ for \(x = 3\)", [r"$x^2$", r"\(x = 3\)"]),
        ("it costs $5 + $3 = $8", []),
        ("$12 for $x$", ["$x$"]),
        (r"$$a + b$$ and \[c\]", ["$$a + b$$", r"\[c\]"]),
        ("$5 and $x$", ["$x$"]),
        (r"\$5 is \$5", []),
    ],
)
def test_a_dollar_opens_mathematics_only_where_another_closes_it(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in math_segments(text)] == found


@pytest.mark.parametrize(
    ("formula", "end"),
    [
        (r"x &= 3 + 4 \\ &= 7", "7"),
        (r"x = 3 \\ y = 4", "x = 3, y = 4"),
        (r"\begin{aligned} x &= 2 \\ &= 1 + 1 \end{aligned}", "1 + 1"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("", ""),
    ],
)
def test_rows_end_with_the_last_or_with_all_that_give_a_name(formula: str, end: str) -> None:
    assert last_row(formula) == end
