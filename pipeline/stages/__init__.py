"""Holds the stages of a run and of what is done with its trees; none of them knows Ray.

problems ─► leases ─► rollout (search, checking) ─► dataset ─► training, export
problems ─► variants ─► problems
"""
