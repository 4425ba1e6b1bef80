"""Gradients of the ops of `dtrain.opset`, and the functions that users call: one family a file.

Importing this package registers them all: each module of the folder is found by listing it. Users find the public
functions gathered in `dtrain.functional`.
"""

from __future__ import annotations

import importlib
import pkgutil

FAMILIES = tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))

for _name in FAMILIES:
    importlib.import_module(f"dtrain.ops.{_name}")
