"""One importer for each public data set: a row of its published file becomes one problem, or says why it can't.

base (Row, Imported, Unusable, made) ─┬─► mathematics   GSM8K, MATH, AIME, NuminaMath, OpenR1, DeepScaleR, Big-Math, …
                                      ├─► programs      HumanEval, MBPP, APPS, TACO, CodeContests, LiveCodeBench, …
                                      ├─► instructions  IFEval, Spider and BIRD, MiniF2F
                                      └─► training      verl's layout and what is published in it, SYNTHETIC, Nemotron
"""
