"""Write the compiled kernels of all formulas: `python write_cpp.py FOLDER`, which CMake runs.

Of this package it reads only what stands in this folder: a build has neither NumPy nor a compiled module.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent


def stand_in(name: str, folder: Path) -> None:
    """Let modules below `name` be found in `folder` without running the package itself."""
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def main(target: Path) -> None:
    from dtrain.kernels.formula import cpp_text

    target.mkdir(parents=True, exist_ok=True)
    texts = {
        "kernels.inc": cpp_text.list_text(),
        "contracts.h": cpp_text.contract_text(),
        "formulas.h": cpp_text.kernel_text(),
    }
    for name, text in texts.items():
        path = target / name
        if not path.exists() or path.read_text() != text:  # what has not changed is not compiled again
            path.write_text(text)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    stand_in("dtrain", HERE.parent)
    stand_in("dtrain.kernels", HERE.parent)
    main(Path(sys.argv[1]))
