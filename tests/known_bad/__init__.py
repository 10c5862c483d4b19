"""Old releases with published conv1d bugs, and the proof that the suite, told nothing, finds each of them."""
