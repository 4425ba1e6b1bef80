"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from dtrain.base.errors import ShapeError, expected
from dtrain.core.context import no_grad
from dtrain.core.tensor import Tensor
from dtrain.ops.joining import concat, split
from dtrain.ops.shape import reshape


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters one after another: [count]. Gradients flow back to them."""
    flat = [reshape(parameter, (-1,)) for parameter in parameters]
    if not flat:
        raise ValueError(expected("parameters_to_vector", "at least one parameter", "none"))
    return concat(flat)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of a vector into the parameters, which stay the same objects, in their dtypes.

    Raises ShapeError unless the vector has as many elements as the parameters together.
    """
    places = list(parameters)
    sizes = [place.type.size for place in places]
    if vec.shape != (sum(sizes),):
        raise ShapeError(expected("vector_to_parameters", f"a vector of {sum(sizes)} elements", str(vec.type)))
    with no_grad():
        for place, part in zip(places, split(vec, sizes) if sizes else ()):
            place.copy_(reshape(part, place.shape))
