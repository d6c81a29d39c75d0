"""Confines a child; each part is usable alone.

numbers ─► syscalls ─► seccomp     which system calls
                   ├─► landlock    which files, no TCP, no signals out
                   └─► namespaces  which world: mounts, pids, network
           rlimits                 how much
           visible                 which files of the system jobs may read
plan: what this host allows, and the order in which a child puts it on
"""
