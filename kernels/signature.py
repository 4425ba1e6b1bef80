"""Which dtypes the inputs of an op have together, said once an op, beside its reference (`reference(op, inputs=…)`).

Each input has a role, written as a letter; `T*` is any number of T:

    T   the element dtype, which a kernel is compiled for
    A   its accumulation dtype: f64 for f64, else f32
    W   the dtype of weight and bias: the element dtype, or the second of a tag such as `f16_f32`
    S   a scalar, f32 or f64          N   s64 numbers
    P   s32 places                    I   class numbers, s32 or s64
"""

from __future__ import annotations

from dataclasses import dataclass

from dtrain.base.dtype import DType, as_dtype, float32, float64, int32, int64
from dtrain.kernels.candidate import Condition
from dtrain.kernels.problem import Problem


@dataclass(frozen=True, slots=True)
class Signature:
    """The roles of an op's inputs. An op that `draws` has the state of a stream for input, and its attribute `dtype`
    is the element dtype."""

    roles: tuple[str, ...] = ("T*",)
    draws: bool = False

    def takes(self, tag: str) -> Condition:
        """What a kernel asks that is compiled for `tag`: every input has a dtype of its role."""
        allowed = dtypes_of_roles(tag)
        fixed = [allowed[role] for role in self.roles if not role.endswith("*")]
        repeated = [allowed[role[:-1]] for role in self.roles if role.endswith("*")]
        element = element_dtype(tag)

        def condition(problem: Problem) -> str | None:
            types = problem.inputs
            if self.draws and not _draws_here(problem, element):
                return f"makes {element.tag} on the CPU"
            if len(types) < len(fixed) or (len(types) > len(fixed) and not repeated):
                return f"takes {len(fixed)} inputs"
            roles = [*fixed, *repeated * (len(types) - len(fixed))]
            for position, (type, dtypes) in enumerate(zip(types, roles)):
                if type.dtype not in dtypes:
                    return f"takes {' or '.join(dtype.tag for dtype in dtypes)} for input {position}"
            return None

        return condition


def _draws_here(problem: Problem, element: DType) -> bool:
    # A draw for a GPU has its state on the CPU; only the attributes say where the values go.
    device = problem.attrs.get("device")
    return problem.attrs["dtype"] is element and (device is None or device.is_cpu)


def dtypes_of_roles(tag: str) -> dict[str, tuple[DType, ...]]:
    """The dtypes that an input of each role may have, for a tag such as `f32` or `f16_f32`."""
    element = element_dtype(tag)
    return {
        "T": (element,),
        "A": (accumulation_dtype(element),),
        "W": (weight_dtype(tag),),
        "S": (float32, float64),
        "N": (int64,),
        "P": (int32,),
        "I": (int32, int64),
    }


def element_dtype(tag: str) -> DType:
    """T of a tag such as `f16_f32`."""
    return as_dtype(tag.partition("_")[0])


def weight_dtype(tag: str) -> DType:
    """W of a tag."""
    return as_dtype(tag.rpartition("_")[2])


def accumulation_dtype(dtype: DType) -> DType:
    """A of an element dtype."""
    return float64 if dtype is float64 else float32
