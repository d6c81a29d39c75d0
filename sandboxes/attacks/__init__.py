"""Attacks this host's sandbox with a catalogue of hostile programs and reports which of them were stopped.

host, limits, protocol, pool, verdicts: the catalogue, by what is attacked ─► run: attack_host ─► AttackResult

The tests of the sandbox run the same catalogue at every privilege level; `berry sandbox attack` runs it here.
"""
