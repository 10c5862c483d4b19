"""What arithmetic a backend computes in, found by exact probes and by sums of random signs (chapter ARITH)."""
