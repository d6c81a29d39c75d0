"""Makes a template cheap to fork.

memory_maps ─► code_pages      program code that forks inherit
           └─► warm_up ─► prefault ─► pin_pages      pages that every job writes, copied ahead
               fill_heap_gaps  new objects side by side
                    └─► prepare: prepare_for_forking, the one call behind which all of it stands
"""
