"""Scripts in plain framework code that find, without this package, what the fingerprints of that framework claim."""
