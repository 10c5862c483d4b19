"""What is right, in words and integers: the clauses, the geometry and the definition of conv1d."""
