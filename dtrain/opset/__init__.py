"""What is known of ops without tensors: types from types, dtypes, effects, layouts, calls that exercise them.

One family a file. Importing this package registers them all, for whoever verifies, optimizes or runs a graph from its
text. Gradients and public functions stand in `dtrain.ops`, in files of the same names.
"""

from __future__ import annotations

import importlib
import pkgutil

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"dtrain.opset.{_family.name}")
