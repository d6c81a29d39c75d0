r"""Decides whether two answers are the same mathematics, by a ladder of rungs, cheapest first; most answers are decided
before sympy.

text ─► bounds ─► expressions/ (one way of writing; scalars as trees and their values)
                    └─► answers/ (tuples, sets, intervals, matrices, equations, units over scalars)
                          └─► compare (structure against structure, a leaf oracle decides scalars)
ladder: exact string ─► numeric ─► normalised string ─► structured ─► [undecided] symbolic
                                                    in a confined worker: worker ─► sympy_leaf
"""
