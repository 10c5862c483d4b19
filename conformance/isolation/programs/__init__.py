"""What a backend is asked to compute: conv1d itself, and what is composed from the adapter's own transforms."""
