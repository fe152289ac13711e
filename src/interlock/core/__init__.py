"""Values and rules: no I/O, no clock, no randomness, no async. Everything a decision depends on is handed in."""
