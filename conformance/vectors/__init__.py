"""Vectors: cases with what is right of them as JSON, for those who can't run Python, and the judging of results."""
