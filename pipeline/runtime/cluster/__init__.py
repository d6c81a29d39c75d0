"""Gets the actors of a run on a Ray cluster, and keeps them while nodes come and go.

connect (join or start Ray) ─► placement (what fits, which actor where) ─► fleet (all actors of a run)
    fleet ─► actor_pool (actors of one kind) ◄─ sandbox_pool (sandbox actors, more or fewer)
submit (a run as a job of the cluster) ─► job_bundle (what it takes along)
standalone_sandboxes (checks without a run)
"""
