"""The ways to start ranks: one file and one row each."""
