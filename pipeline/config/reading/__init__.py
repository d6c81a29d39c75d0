"""Turns a YAML file into a validated section, or one error that names the key: what all sections share.

shipped (finds the file) ─► loading (file and overrides into a model of `base`) ─► by_type (picks a class by `type`)
"""
