"""Defines the sections of a configuration: frozen models of what a YAML file may say, one file a concern.

problems ─► variants          what to solve, and what `berry variants` makes from it
screening                     evaluation sets that neither may come near
engine, synthetic             what generates
rollout ─► policies           how trees grow, and which class configures a policy
pruning                       which class configures a rule
rewards, rounds, recompute    value models, training between rounds, the check of an engine's log-probabilities
cluster ─► gpu_memory         what the nodes have, and how a GPU's memory is shared
"""
