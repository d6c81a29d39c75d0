"""Makes a template cheap to fork.

memory_maps ─► code_pages      program code that forks inherit
           └─► warm_up ─► prefault ─► pin_pages      pages that every job writes, copied ahead
               fill_heap_gaps  new objects side by side
                    └─► prepare: prepare_for_forking, the one call behind which all of it stands
"""

TRICKS = (
    "early_binding", "huge_pages", "join_mappings", "inherit_mappings", "warm_up", "freeze", "fill_heap_gaps",
    "trim_heap", "prefault", "pin_pages", "plain_fork",
)  # fmt: skip
"""Names by which each can be switched on alone."""
