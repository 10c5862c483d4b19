"""The bank of mutants: correct backends with one fault planted in each, which prove that the checks can fail."""
