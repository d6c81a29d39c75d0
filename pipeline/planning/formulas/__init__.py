"""Formulas of the planner, each with its source: they know no configuration and no run.

roofline (time and memory of a step)     queueing (waits for a slot) ─► closed_network (what goes round)
passing (problems that are solved, and that go on)
"""
