"""Holds the pure core: trees, policies, values, labels. No I/O, no Ray, no torch, no clock, no global randomness.

seeds ─► tree ─► search (policies; commands and events: events.py) ─► backup ─► labels
                   └── steps                                          └── prune ─► ledger
assignment: which problem is held out, in which mode it is searched, and where it goes on
"""
