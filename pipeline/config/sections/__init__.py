"""Defines the sections of a configuration: frozen models of what a YAML file may say, one file a concern.

problems ─► variants          what to solve, and what may not be near it; what `berry variants` makes from it
engine, synthetic             what generates, and the check of its log-probabilities
rollout ─► policies, tools    how trees grow, which class configures a policy, and tools that a response may call
pruning                       which class configures a rule
rewards, rounds               value models, training between rounds
cluster ─► gpu_memory         what the nodes have, and how a GPU's memory is shared
evaluation, annotation        what `berry eval` runs, and what `berry annotate` labels
"""
