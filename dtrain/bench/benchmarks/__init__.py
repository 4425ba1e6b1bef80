"""One file a benchmark, found by its name: a first line that says what it measures, `add_arguments`, `run`."""
