"""The oracle of every op: slow, obviously right, written once for NumPy and CuPy arrays.

Importing this package registers them all: each module of the folder is found by listing it, so a new family of
references is one new file here.
"""

from __future__ import annotations

import importlib
import pkgutil

MODULES = tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))

for _name in MODULES:
    importlib.import_module(f"dtrain.kernels.reference.{_name}")
