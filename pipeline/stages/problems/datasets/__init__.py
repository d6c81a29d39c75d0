"""Imports public data sets, one file each: a published row becomes one problem, or the reason why it can't.

base (Row, Imported, Unusable, made) ─┬─► mathematics   GSM8K, MATH, AIME, NuminaMath, OpenR1, DeepScaleR, Big-Math, …
                                      ├─► programs      HumanEval, MBPP, APPS, TACO, CodeContests, LiveCodeBench, …
                                      ├─► instructions  IFEval, Spider and BIRD, MiniF2F
                                      └─► training      verl's layout and what is published in it, SYNTHETIC, Nemotron
"""
