"""Runs on the sandbox's side of the pipes. Standard library only; started clean, never a fork of the host.

    host ─exec─► template ─fork, once a slot─► slot ─fork, once a job─► child ─► program | calls | session | judge
                 imports a profile             supervises, cleans       jailed
                 enters namespaces             holds limits and clocks

    host ─exec─► confine ─exec─► a tool that was installed on this host

judge: a problem's tests    callables: functions that cross    marks ─► as_given: tests whose arguments stay

channel: frames to the host    slot_protocol: messages between host and slot    stages: how far a child came
workdir, processes: what a job left    fast_fork: what makes forks cheap

template and slot are trusted and run none of the job's code. The child is confined before it sees the job.
"""
