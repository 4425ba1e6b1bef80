"""Look whether every file of a bundle arrived as it left. Runs on the target, with Python alone."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def faults(folder: Path) -> list[str]:
    """One line for each file that is missing or differs from what bundle.json says."""
    found = []
    for name, fact in json.loads((folder / "bundle.json").read_text())["files"].items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != fact["nbytes"]:
            found.append(f"{name} has {path.stat().st_size} bytes of {fact['nbytes']}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != fact["sha256"]:
            found.append(f"{name} has other contents")
    return found


if __name__ == "__main__":
    broken = faults(Path(sys.argv[1]))
    if broken:
        sys.exit("expected every file of bundle.json as it was, got: " + "; ".join(broken) + "; copy the folder again")
