"""Asks a completions server for samples, by token ids.

Request ─► engine ─► protocol.body ─► POST /completions ─► protocol.Reading ─► Sample
"""
