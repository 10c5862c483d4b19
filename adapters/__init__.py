"""What a backend does: the adapter protocol, the registry, one adapter a framework, known deviations."""
