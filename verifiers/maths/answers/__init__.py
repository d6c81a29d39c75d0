r"""Reads the structure of an answer: what it holds beside plain scalars, and when two such structures agree.

text ─► values (structure: `shapes` of tuples, sets, lists, relations … over scalars)
          ├─► matrices    sums and products of matrices, worked out on their entries
          └─► quantities  percent, bases, `units`, number words
spans       intervals, inequalities and their unions as sets of real numbers
relations   names and their values, equations, approximations
"""
