"""Berry: synthetic reasoning data by distributed tree search, verified in sandboxes, kept as Parquet.

pipeline    problems ─► trees of rollouts ─► verdicts, scores ─► kept trajectories ─► exports, training
verifiers   response + specification ─► verdict: pass, fail or unverifiable
sandboxes   untrusted code ─► result, in milliseconds, without root
"""

__version__ = "0.1.0"
