"""Finds the answer, the sentences and the code in a response."""
