"""Cuts the problems of a run into leases, the pieces that workers search and commit.

partition (problems ─► leases, always the same ones) ─► lease (what a worker is given, what it reports, what it shows)
    recall (what was found of a run's problems, so that resuming it needs no second walk over them)
    escalation (those that follow from committed ones) ◄── reports (what committed leases reported)
    labelling (those that label committed ones, of a stored run or of one that goes on)
"""
