"""Makes a template cheap to fork.

memory_maps ─► code_pages      the interpreter's code on huge pages
           └─► trial_job ─► written_pages ─► pin_pages      pages that every job writes, copied by the fork itself
                    └─► prepare: prepare_for_forking, the one call behind which all of it stands
"""
