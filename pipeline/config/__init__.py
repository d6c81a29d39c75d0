"""Defines the configuration as frozen sections, and reads it.

YAML file + KEY=VALUE overrides ─► loading.load ─► RunConfig (run.py)
                                                     ├── problems    what to solve
                                                     ├── engine      what generates
                                                     ├── rollout     policy, steps, sampling, budgets
                                                     ├── verification, pruning, cluster, storage
"""
