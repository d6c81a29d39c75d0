"""Defines the configuration as frozen sections, and reads it.

YAML file + KEY=VALUE overrides ─► reading.loading.load ─► RunConfig (run.py), one section a concern (sections/)
                                                             ├── problems    what to solve
                                                             ├── engine      what generates
                                                             ├── rollout     policy, steps, sampling, budgets
                                                             ├── verification, pruning, cluster, storage
                                                           PlanConfig (plan.py), what `berry plan` computes with
reference.py writes the page of all keys.
"""
