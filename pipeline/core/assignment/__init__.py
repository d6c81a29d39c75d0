"""Says which problem is searched how: for training or held out, in which mode, and where it goes on.

splits (training, validation, held out)     modes (a problem's mode, by its id) ─► routing (what goes on to the next)
"""
