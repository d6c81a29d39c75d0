"""The only package that imports Ray.

driver (one run, from config to summary) ─► coordinator (leases out, reports in; knows no Ray)
                                               └─► workers: local (one process) | actors on Ray
                                                     rollout actor ─► engine, searches, shards
                                                     sandbox actor ─► verifiers.Checker
verifying (no run: checks of existing responses) ─► a sandbox actor on every node
"""
