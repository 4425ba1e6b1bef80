"""The tensor: a typed handle on an array (eager), or on a value of a graph that is being traced.

Arithmetic and methods (`x + y`, `x.sum()`) are installed by the op families through `install_methods`, so that this
file stays below them; their signatures are declared in `tensor_methods.py` for type checkers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.cuda import placement
from dtrain.base.device import CPU, Device, DeviceLike, as_device
from dtrain.base.dtype import DType, DTypeLike, as_dtype, expect_held, float32, float64, from_numpy
from dtrain.base.element import element
from dtrain.base.errors import ShapeError, expected
from dtrain.base.spelling import spelled
from dtrain.base.tensor_type import Shape, TensorType, tensor_type
from dtrain.core.context import context
from dtrain.core.tensor_gradient import TensorGradient
from dtrain.core.tensor_methods import TensorMethods
from dtrain.core.tensor_numbers import TensorNumbers
from dtrain.kernels.device_arrays import cast_of, copy_of

if TYPE_CHECKING:
    from dtrain.core.reducer import Reducer
    from dtrain.core.tape import TapeNode
    from dtrain.graph.graph import Value
    from dtrain.graph.op import Op

Array = Any


class Tensor(TensorGradient, TensorMethods, TensorNumbers):
    """An n-dimensional array of one dtype on one device.

    Eagerly `array` holds the elements; while a function is traced, `value` names the graph value instead and `array`
    is None. `requires_grad` leaves collect their gradient in `grad` when `backward()` runs.
    """

    # Slots: a misspelt attribute is an error, and not one more attribute that nobody reads.
    __slots__ = (
        "__weakref__", "_writes", "array", "base", "index", "name", "node", "requires_grad",
        "shown", "type", "value",
    )  # fmt: skip

    array: Array
    type: TensorType
    requires_grad: bool
    name: str
    node: TapeNode | None
    index: int
    _writes: list[int] | None  # one count, which all tensors on the same memory share
    value: Value | None
    base: Tensor | None  # what a view shows a part of
    shown: tuple[Op, dict[str, Any], int] | None  # the op, its attributes, the version of base then

    def __init__(
        self, array: Array, type: TensorType | None = None, *, requires_grad: bool = False, name: str = ""
    ) -> None:
        """An array and its type; of numbers alone an f32 copy of them, as PyTorch's constructor gives."""
        if type.__class__ is not TensorType:
            array, type = _of_numbers(array, type)
        self.array = array
        self.type = type
        self.requires_grad = requires_grad
        self.name = name
        self.index = 0
        self.hooks = ()
        self.node = self._writes = self.value = self._grad = self.base = self.shown = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: a view is copied alone, without what it shows a part of."""
        names = [name for kind in type(self).__mro__ for name in kind.__dict__.get("__slots__", ())]
        kept = [name for name in names if name not in ("__weakref__", "base", "shown") and hasattr(self, name)]
        return {name: getattr(self, name) for name in [*kept, *getattr(self, "__dict__", ())]}

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.rely_on_numbers("a pickle")
        return super().__reduce_ex__(protocol)

    def __copy__(self) -> Tensor:
        other: Tensor = type(self).__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_symbolic:
            self.rely_on_numbers("a deep copy")
        other: Tensor = type(self).__new__(type(self))
        memo[id(self)] = other
        state = self.__getstate__()
        value = state.pop("value")  # one of a graph: both tensors stand for it
        other.__setstate__({**deepcopy(state, memo), "value": value})
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.base = self.shown = None
        for name, value in state.items():
            setattr(self, name, value)

    # Facts ----------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def device(self) -> Device:
        return self.type.device

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made it; only leaves collect `grad`."""
        return self.node is None

    @property
    def is_symbolic(self) -> bool:
        """Whether it stands for a value of a graph that is being traced, and so holds no numbers."""
        return self.array is None

    def __len__(self) -> int:
        if not self.type.shape:
            raise TypeError("len(): expected a tensor with at least one axis, got a 0-d tensor")
        return self.type.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.type.shape:
            raise TypeError(expected("iteration", "a tensor with at least one axis", str(self.type), "write x.item()"))
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        """Whether any element equals the number (or an element of the tensor, which broadcasts)."""
        return bool((self == value).any())

    def __hash__(self) -> int:
        return id(self)

    # Histories --------------------------------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same elements without a history."""
        other = Tensor(self.array, self.type)
        other.value = self.value
        other.share_writes(self)
        if context.tracer is not None:
            context.tracer.note_twin(other, self)
        return other

    def detach_(self) -> Tensor:
        """Forget the history, and that gradients are required. Returns self."""
        if context.tracer is not None and self.node is not None:  # what a leaf requires stays changed, as eagerly
            context.tracer.keep_history(self)
        self.requires_grad, self.node, self.index, self.base, self.shown = False, None, 0, None, None
        return self

    def _to_keep(self) -> Tensor:
        """This gradient as one that stays as it is."""
        return self

    # Change in place ------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """How often the elements were overwritten, through this tensor or another one on the same memory."""
        return 0 if self._writes is None else self._writes[0]

    @version.setter
    def version(self, count: int) -> None:
        if self._writes is None:
            self._writes = [count]
        else:
            self._writes[0] = count

    def share_writes(self, source: Tensor) -> None:
        """Count writes together with `source`, whose memory this tensor shares."""
        self._writes = source.count_writes()

    def count_writes(self) -> list[int]:
        """The count of writes into this memory, to be looked at later."""
        if self._writes is None:
            self._writes = [0]
        return self._writes

    @property
    def data(self) -> Tensor:
        """The same elements without a history: what `detach()` gives. Setting it takes over another's elements."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Tensor) or new.dtype is not self.dtype or new.device is not self.device:
            given = str(new.type) if isinstance(new, Tensor) else type(new).__name__
            raise TypeError(expected("x.data = y", f"a {self.dtype.tag} tensor on {self.device}", given, "y.to(…)"))
        if context.tracer is not None:
            if new.value is not self.value or new.array is not self.array or new.type is not self.type:
                self.assign_(new.detach())
        elif new.array is not self.array or new.type is not self.type:
            array = new.concrete("x.data = y")
            # The type goes with the array, so that whoever relied on it notices another one.
            self.array, self.type = array[...] if array is self.array else array, new.type
            self.base = self.shown = None
            self.version += 1


class LentGradient(Tensor):
    """A gradient in memory that a compiled graph writes anew in its next run.

    Graphs, optimizers and clipping read it where it lies. Whoever else asks a leaf for its `grad` gets a copy of it,
    which stays as it is.
    """

    __slots__ = ()

    def _to_keep(self) -> Tensor:
        return Tensor(copy_of(self.array), self.type)


class Parameter(Tensor):
    """A tensor that a module registers and an optimizer updates: a leaf that requires gradients."""

    __slots__ = ("reducers",)

    reducers: tuple[Reducer, ...]  # who may have left a part of the gradient that is to be reduced over ranks

    def __init__(self, data: Any, *, requires_grad: bool = True, name: str = "") -> None:
        source = as_tensor(data)
        super().__init__(source.concrete("Parameter()"), source.type, requires_grad=requires_grad, name=name)
        self.reducers = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.reducers = ()  # files of before have none
        super().__setstate__(state)


def _of_numbers(data: Any, more: Any) -> tuple[Array, TensorType]:
    """What `Tensor([1, 2])` holds: a copy in f32."""
    if more is not None or isinstance(data, int):
        raise TypeError(expected("Tensor", "numbers in lists or an array", "sizes", "write dt.zeros(2, 3)"))
    if isinstance(data, Tensor):
        data = data.numbers("Tensor()")
    array = np.array(data, dtype=np.float32)
    return array, as_tensor(array).type


def device_of(array: Array) -> Device:
    """The device an array lives on."""
    if isinstance(array, np.ndarray | np.generic):
        return CPU
    return as_device(f"cuda:{array.device.id}")


def wrap(array: Array) -> Tensor:
    """A tensor on exactly this array, sharing its memory."""
    return Tensor(array, tensor_type(array.shape, from_numpy(array.dtype), device=device_of(array)))


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: DeviceLike | None = None) -> Tensor:
    """A tensor of numbers, nested lists, a NumPy or CuPy array, or another DLPack owner (shared, not copied).

    Python floats become f32 and Python ints s64; NumPy arrays keep their dtype. While tracing it is a constant.
    """
    if isinstance(data, Tensor):
        result = data if dtype is None else data.to(dtype)
        return result if device is None else result.to(device)
    tensor = wrap(_to_array(data, dtype))
    tracer, context.tracer = context.tracer, None
    try:
        # Moved now, not in every run of the graph.
        moved = tensor if device is None else tensor.to(placement(device))
    finally:
        context.tracer = tracer
    return moved if tracer is None else tracer.constant(moved)


def _to_array(data: Any, dtype: DTypeLike | None) -> Array:
    if isinstance(dtype, DType) and dtype.kind == "quantized":
        element(dtype)  # raises: numbers without scale and zero point stand for none of these
    if isinstance(data, np.ndarray | np.generic) or type(data).__module__.partition(".")[0] == "cupy":
        array = np.asarray(data) if isinstance(data, np.generic) else data
    elif hasattr(data, "__dlpack__"):
        array = _from_dlpack(data)
    else:
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ShapeError(expected("tensor()", "numbers or evenly nested lists of numbers", repr(data))) from error
        if array.dtype == float64.numpy:
            _expect_exact_integers(array, data, dtype)
            array = cast_of(array, float32.numpy) if dtype is None else array
        if dtype is not None and array.size and array.dtype.kind in "iuf":
            expect_held("tensor()", as_dtype(dtype), array.min().item(), array.max().item())
    return array if dtype is None else cast_of(array, as_dtype(dtype).numpy)


def _expect_exact_integers(array: np.ndarray, data: Any, dtype: DTypeLike | None) -> None:
    """NumPy makes f64 of a list with integers beyond s64; that is wanted only where somebody wrote a float."""
    is_wanted = dtype is not None and as_dtype(dtype).is_floating
    if is_wanted or not array.size or not np.abs(array).max() >= 2.0**63:
        return
    if not any(isinstance(number, float | np.floating) for number in np.asarray(data, object).flat):
        raise ValueError(
            expected("tensor()", "integers that s64 holds", f"{data!r:.80}", "write one of them as a float")
        )


def _from_dlpack(data: Any) -> Array:
    if data.__dlpack_device__()[0] == 1:
        from dtrain.core.dlpack import import_cpu

        return import_cpu(data)
    import cupy

    return cupy.from_dlpack(data)


def install_methods(methods: Mapping[str, Callable[..., Any]]) -> None:
    """Give Tensor these methods; a family of ops calls this once for what it defines."""
    for name, function in methods.items():
        is_method = isinstance(function, FunctionType) and not name.startswith("__")
        setattr(Tensor, name, spelled(function) if is_method else function)
