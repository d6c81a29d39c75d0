r"""Are two answers the same mathematics? A ladder of rungs, cheapest first; most answers are decided before sympy.

text ─► bounds ─► normal ─► values (structure: `shapes` of tuples, sets, lists, relations … over scalars)
                              ├─► matrices    sums and products of matrices, worked out on their entries
                              └─► quantities (percent, bases, `units`, number words)
                                    └─► expr (tokens ─► tree of `nodes`) ─► evaluate (exact, or 110 digits)
compare (structure against structure, a leaf oracle decides scalars)
  ├─► spans       intervals, inequalities and their unions as sets of real numbers
  └─► relations   names and their values, equations, approximations
ladder: exact string ─► numeric ─► normalised string ─► structured ─► [undecided] symbolic
                                                    in a confined worker: worker ─► sympy_leaf
"""
