"""The same traced training steps on any device, for comparison: same seed, same data, losses and parameters back."""

from __future__ import annotations

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import nn, optim
from dtrain.models.resnet import resnet18


class SmallNet(nn.Module):
    """A convolution, batch norm, pooling and a linear layer: every kind of kernel a network needs."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 6, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 4 * 4, 10)

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        return self.head(F.max_pool2d(F.relu(self.bn(self.conv(x))), 2).reshape(x.shape[0], -1))


NETS = {"resnet18": (lambda: resnet18(num_classes=10), 32), "small": (SmallNet, 8)}
OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4),
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3),
}


def train(
    net: str, optimizer: str, device: str, *, steps: int, traced: bool = True, dtype: str = "f32"
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses of `steps` steps, and the state of the model behind them."""
    dt.seed(1)
    make, side = NETS[net]
    model = make().to(dtype).to(device)
    update = OPTIMIZERS[optimizer](model.parameters())
    random = np.random.default_rng(0)
    images = dt.tensor(random.normal(size=(4, 3, side, side)).astype(np.float32)).to(dtype).to(device)
    labels = dt.tensor(random.integers(0, 10, 4)).to(device)

    def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        loss = F.cross_entropy(model(images), labels)
        update.zero_grad()
        loss.backward()
        update.step()
        return loss

    run = dt.trace(step) if traced else step
    losses = [float(run(images, labels)) for _ in range(steps)]
    return losses, {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
