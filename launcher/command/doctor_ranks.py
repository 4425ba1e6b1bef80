"""What `dtrain doctor` starts as two ranks: they join the world and add up. Run as a module by the launcher."""

from __future__ import annotations

from importlib import import_module

import numpy as np


def main() -> None:
    """Join, sum, and print the sum on rank 0."""
    world = import_module("dtrain.collectives").init()  # above this floor, so by its name; with the settings of a job
    total = world.all_reduce(np.full(1 << 16, world.rank + 1.0, np.float32))
    if world.rank == 0:
        print(f"sum {total[0]:g} by {world.name}, because {world.reason}", flush=True)


if __name__ == "__main__":
    main()
