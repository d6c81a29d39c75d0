"""Watches a run: its progress, its metrics, what hangs, what is to be scaled, and whether engines agree.

steady_state ─► progress (figures of the display) ─► live_status (the same for `berry status`)
metrics (one table, readings of it) ─► prometheus (exports them)
stalls (ends what hangs)      wait_times ─► autoscaler (sandbox slots)      logprob_audit (engines that disagree)
"""
