"""Runs the stages on workers, in one process or on Ray. No other package imports Ray.

driver (one run, from configuration to summary) ─► worker (protocol) ◄─ actors (engines, sandboxes, rewards)
    driver ─► cluster (the actors of a run on Ray)      driver ─► monitoring (progress, metrics, stalls, scaling)
    display (where progress is shown)
"""
