"""Known deviations as data: one TOML file a backend, each entry strict, with reason and reproducer."""
