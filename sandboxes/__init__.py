"""Hostile code in milliseconds, without root. Plain asyncio and processes; useful on its own.

Job ─► pool ─► waiting ─► slots ─► launching ─► [exec] inside.template ─► inside.slot ─► inside.child
        │      fair line   by profile             │                        supervises     jailed
        │                                         └─ jail: landlock, seccomp, namespaces, rlimits
        ├─ running   programs   calls and programs; other languages (languages)
        ├─ session              one child kept alive
        └─ judging              tests in one child, candidate in another
             worker, live ◄─ wire ─► child       frames of plain data, hostile until decoded
                 └─► results ─► JobResult        what ended it, what it returned

confined ─► [exec] inside.confine ─► a long-lived tool of the host (a proof assistant), jailed, over pipes

base: records and outcomes    config: a pool's settings    metrics: its counters    probe: what this host
allows
"""
