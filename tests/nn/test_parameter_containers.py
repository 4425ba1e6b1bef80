"""Lists and dicts of parameters, and parameters as one vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn, optim


class Net(nn.Module):
    def __init__(self) -> None:
        self.weights = nn.ParameterList([dt.ones(2), nn.Parameter(dt.full((3,), 2.0))])
        self.scales = nn.ParameterDict({"a": dt.ones(1)})

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        return (x * self.weights[0]).sum() * self.weights[1].sum() * self.scales["a"]


def test_they_are_in_the_state_and_train() -> None:
    net = Net()
    assert list(net.state_dict()) == ["weights.0", "weights.1", "scales.a"]
    assert all(isinstance(parameter, nn.Parameter) for parameter in net.parameters())
    optimizer = optim.SGD(net.parameters(), 0.1)
    net(dt.ones(2)).backward()
    optimizer.step()
    assert net.weights[0].tolist() == pytest.approx([0.4, 0.4]) and net.scales["a"].item() == pytest.approx(-0.2)
    other = Net()
    other.load_state_dict(net.state_dict())
    assert other.weights[0].tolist() == net.weights[0].tolist()
    assert net.to(dt.float64).weights[1].dtype is dt.float64


def test_a_trace_sees_another_parameter() -> None:
    net = Net()
    traced = dt.trace(net)
    assert traced(dt.ones(2)).item() == 12.0
    net.weights[0] = dt.full((2,), 2.0)
    net.scales["a"] = dt.full((1,), 3.0)
    assert traced(dt.ones(2)).item() == 72.0


def test_a_list_is_a_list() -> None:
    values = nn.ParameterList()
    assert values.append(dt.zeros(1)) is values and len(values.extend([dt.ones(1), dt.ones(2)])) == 3
    values += [dt.ones(4)]
    assert [parameter.size for parameter in values] == [1, 1, 2, 4] and len(values[1:3]) == 2
    assert repr(values[2:]) == "ParameterList(0: f32[2]@cpu, 1: f32[4]@cpu)"
    assert values[-1] is values[3] and isinstance(values[1:], nn.ParameterList)
    for wrong in (3, [3], dt.ones(2)):
        with pytest.raises(TypeError, match="ParameterList: expected"):
            nn.ParameterList(wrong)  # type: ignore[arg-type]


def test_a_dict_is_a_dict() -> None:
    values = nn.ParameterDict([("a", dt.zeros(1)), ("b", dt.ones(2))])
    values.update({"c": dt.ones(3)})
    assert list(values) == list(values.keys()) == ["a", "b", "c"] and len(values) == 3 and "b" in values
    assert [name for name, _ in values.items()] == ["a", "b", "c"] and len(list(values.values())) == 3
    assert values.pop("b").size == 2 and values.get("b") is None and values.get("a") is values["a"]
    del values["a"]
    assert list(values) == ["c"] and repr(values) == "ParameterDict(c: f32[3]@cpu)"
    for call in (lambda: values.update({"x.y": dt.ones(1)}), lambda: values.update({"x": 1})):  # type: ignore[dict-item]
        with pytest.raises(TypeError, match="ParameterDict: expected"):
            call()


def test_parameters_as_a_vector() -> None:
    from dtrain.nn.utils import parameters_to_vector, vector_to_parameters

    layer = nn.Linear(2, 3)
    layer.bias.zero_() if not layer.bias.requires_grad else None
    vector = parameters_to_vector(layer.parameters())
    np.testing.assert_array_equal(vector.numpy(), np.concatenate([p.numpy().ravel() for p in layer.parameters()]))
    (vector * vector).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), 2 * layer.weight.numpy())
    weight = layer.weight
    vector_to_parameters(dt.arange(9).float(), layer.parameters())
    assert layer.weight is weight and weight.requires_grad and weight.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert layer.bias.tolist() == [6.0, 7.0, 8.0]
    for wrong in (8, 10):
        with pytest.raises(ValueError, match="a vector of 9 elements"):
            vector_to_parameters(dt.zeros(wrong), layer.parameters())
    with pytest.raises(ValueError, match="at least one parameter"):
        parameters_to_vector([])


@pytest.mark.parametrize("dtype", ["f16", "f64"])
def test_a_vector_is_cast_to_the_parameters(dtype: Any) -> None:
    layer = nn.Linear(1, 1).to(dtype)
    nn.vector_to_parameters(dt.tensor([1.5, 2.5]), layer.parameters())
    assert layer.weight.dtype.tag == dtype and layer.weight.item() == 1.5
