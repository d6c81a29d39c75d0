"""Makes a template cheap to fork.

memory_maps ─► code_pages      program code on huge pages and in few mappings
           └─► trial_job ─► written_pages ─► pin_pages      pages that most jobs write, copied by the fork itself
                    └─► prepare: prepare_for_forking, the one call behind which all of it stands
"""
