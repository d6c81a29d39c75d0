"""Brings problems from where they come to validated records.

config.problems ─► sources (all of a run, one stream) ─► files | reasoning_gym | arithmetic | synthetic ─► Problem
                        base (what a source is)      importing (public data sets' own files ─► problem files)
                        asked (hashes of texts and checks: whether a run's problems are still the same)
                        screening ─► decontamination (evaluation sets that problems are held against)
"""
