"""Max pooling by every instruction set: values and places are the reference's, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dtrain.kernels.candidate import Candidate
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import kernels_of, reference_of
from dtrain.kernels.workspace import with_workspace
from dtrain.base.dtype import from_numpy, int32
from dtrain.base.tensor_type import TensorType

KERNELS = [kernel for kernel in kernels_of("max_pool2d") if not kernel.is_reference and kernel.is_supported]
