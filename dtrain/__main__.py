"""`python -m dtrain` is the `dtrain` command."""

import sys

from dtrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
