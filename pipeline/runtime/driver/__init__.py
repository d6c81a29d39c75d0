"""Drives a run: from its configuration, round by round, to committed shards.

run (check, prepare, start; rounds) ─► startup (workers) ─► coordinator (leases out, reports in) ─► totals
    round_plan (which rounds there are, and their weights)
    lease_claims (leases, where several sites share the run)     background (what goes on beside the coordinator)
    train_process, trainers (training between rounds)     merge_process (a large round's files)     signals (Ctrl-C)
    outcome (launch and result)     expectations (what is told before the start)
"""
