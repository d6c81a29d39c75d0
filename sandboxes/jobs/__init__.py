"""Runs one kind of job each, on a slot that the pool hands out.

python    programs and calls          judge    tests in one child, the candidate in another
programs  C++, JavaScript, shell      session  one child that keeps its state
tool      a long-lived tool of the host in the jail (a proof assistant), over pipes; needs no pool
"""
