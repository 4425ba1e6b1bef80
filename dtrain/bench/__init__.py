"""`dtrain bench`: one room for measuring. A benchmark is one file in `benchmarks/`; loop and report are shared."""
