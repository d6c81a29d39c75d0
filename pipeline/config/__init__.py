"""Frozen configuration sections.

YAML file + KEY=VALUE overrides ─► loading.load ─► RunConfig (run.py)
                                                     ├── problems    what to solve
                                                     ├── engine      what generates
                                                     ├── rollout     policy (policies.py), steps, sampling, budgets
                                                     ├── verification, pruning, cluster, storage
"""
