"""The compiled module `_cpu`, if it is built, and of the sources that lie here."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from dtrain.base.errors import expected
from dtrain.kernels.build_digest import expect_current


@cache
def compiled_module() -> Any:
    """The module, ready to be called; None, with a warning, where it is not built.

    Raises ImportError where it was built from other sources.
    """
    try:
        import dtrain.kernels._cpu as _cpu
    except ImportError as error:
        from dtrain.kernels.build_advice import advice_without_module  # not on the way of who has it

        advice = advice_without_module()
        warnings.warn(expected("dtrain.kernels", "the compiled module _cpu", str(error), advice), stacklevel=2)
        return None
    expect_current(_cpu, Path(__file__).parent)
    _cpu.set_bfloat16(np.dtype(ml_dtypes.bfloat16).num)
    return _cpu
