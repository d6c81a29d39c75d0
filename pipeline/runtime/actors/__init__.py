"""Holds what a run works with: engines, sandboxes and reward models, in Ray actors or in this process.

rollout_handle (a Worker) ─► rollout_actor ─► stages.rollout.LeaseWorker ◄─ local_worker (a Worker, without Ray)
    sandbox_client ─► sandbox_actor ─► verifiers.Checker         reward_client ─► reward_actor ─► rewards.serving
    weights (load_weights, into engine and reward models)        process (CPU time, garbage)     remote (awaits calls)
"""
