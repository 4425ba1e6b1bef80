"""The `dtrain` command: what was typed, and what is done about it."""
