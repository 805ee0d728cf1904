"""Which trials to run next, from those seen so far: pure, deterministic, and each with its reason."""
