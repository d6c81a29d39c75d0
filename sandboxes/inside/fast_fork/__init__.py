"""fast_fork"""
