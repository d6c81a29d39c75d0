"""Measures accuracy against compute: independent chains or whole searches, methods that choose an answer, intervals."""
