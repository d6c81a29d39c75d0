r"""Reads a scalar expression and works out its value; nothing is ever evaluated as Python.

text ─► normal (one way of writing) ─► tokens ─► expr (a tree of `nodes`) ─► evaluate (exact, or 110 digits)
"""
