"""Are two answers the same mathematics? A ladder of rungs, cheapest first; most answers are decided before sympy.

text ─► bounds ─► normal ─► values (structure: `shapes` of tuples, sets, relations … over scalars)
                              │        └─► expr (scalar expression tree) ─► evaluate (exact, or 110 digits)
                              └─► compare (structure against structure, a leaf oracle decides scalars)
        ladder: exact string ─► normalised string ─► numeric ─► structured ─► [undecided] symbolic
                                                                   in a confined worker: worker ─► sympy_leaf
"""
