"""Arithmetic problems: the stated answers are right, and a draw does not depend on what is drawn beside it."""

from __future__ import annotations

import ast
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.stages.problems import arithmetic
from berry.verifiers.specs.union import MathSpec

OPERATORS: dict[type, Any] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def value(expression: str) -> int:
    """The expression's value by Python's own precedence."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand)
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return node.value

    return walk(ast.parse(expression, mode="eval").body)


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_the_stated_answer_is_the_expression_s_value(seed: int, first: int):
    problem = arithmetic.draw(1, seed, first=first)[0]
    assert isinstance(problem.prompt, str)
    assert isinstance(problem.verifier, MathSpec)
    assert problem.verifier.answer == str(value(problem.prompt.removesuffix("?")))


@given(st.integers(0, 2**31), st.integers(2, 7))
def test_worked_solutions_are_true_line_by_line_and_end_in_the_answer(seed: int, operands: int):
    problem = arithmetic.draw(1, seed, operands=(operands, operands))[0]
    assert isinstance(problem.verifier, MathSpec)
    *steps, last = arithmetic.worked(str(problem.prompt)).split("\n")
    assert last == problem.verifier.answer
    assert steps
    for step in steps:
        assert len({value(side) for side in step.split("=")}) == 1


def test_the_example_of_the_docstring():
    assert arithmetic.worked("12 + 5 - 3 * 7?") == "12+5=17\n17-3*7=17-21=-4\n-4"
    assert arithmetic.worked("7 * 6 - 6?") == "7*6=42\n42-6=36\n36"


def test_a_problem_does_not_depend_on_what_is_drawn_beside_it():
    whole = arithmetic.draw(10, seed=3)
    assert [*arithmetic.draw(4, seed=3), *arithmetic.draw(6, seed=3, first=4)] == whole
    assert arithmetic.draw(10, seed=4) != whole
    assert len({problem.id for problem in whole}) == 10


def test_operands_are_counted_and_bounded():
    problems = arithmetic.draw(200, seed=8, operands=(2, 5))
    counts = {problem.meta["operands"] for problem in problems}
    assert counts == {2, 3, 4, 5}
    for problem in problems:
        numbers = [int(word) for word in str(problem.prompt).removesuffix("?").split()[::2]]
        assert len(numbers) == problem.meta["operands"] == problem.difficulty
        assert all(1 <= number <= 20 for number in numbers)
    with pytest.raises(ValueError, match="operands"):
        arithmetic.draw(1, seed=0, operands=(3, 2))
