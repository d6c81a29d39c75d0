"""Kinds of verifier that look at the response as a text.

constraints (counts, keywords, form, language)     json_schema ─► schema_fault (where a value does not fit)
"""
