"""Runs hostile code in milliseconds, without root. Plain asyncio and processes; useful on its own.

Job ─► pool ─► jobs (python, programs, judge, session) ─► host (slots, template, slot, child) ─[exec, fork]─► inside
        │                                                    │                                                  │
        └─► host.queue: fair, bounded                        └─► host.outcomes ─► JobResult    jail: landlock, ─┘
                                                                                      seccomp, namespaces, rlimits

jobs.tool ─[exec]─► inside.confine ─► a long-lived tool of the host (a proof assistant), jailed, over pipes

base: records and outcomes    wire: frames of plain data, hostile until decoded    config: a pool's settings
languages: commands of C++, JavaScript, shell    metrics: counters    probe: what this host allows
"""
