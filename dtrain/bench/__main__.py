"""`python -m dtrain.bench NAME …` runs a benchmark as one rank, under any launcher."""

from __future__ import annotations

import sys

from dtrain.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
