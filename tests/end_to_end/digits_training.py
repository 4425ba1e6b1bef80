"""One training run of the digits network that one process and several ranks can both make.

The global batch of each step is the same whatever the number of ranks; ranks take uneven parts of it, and now and then
a rank has none.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import data, models, optim

GLOBAL_BATCH = 48


def parts(step: int, size: int) -> list[slice]:
    """Uneven slices of the global batch, different in each step; every seventh step the last rank has no sample."""
    rng = np.random.default_rng(step)
    cuts = np.sort(rng.choice(np.arange(2, GLOBAL_BATCH - 1), size - 1, replace=False))
    if size > 1 and step % 7 == 6:
        cuts[-1] = GLOBAL_BATCH
    edges = [0, *map(int, cuts), GLOBAL_BATCH]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def digest(model: dt.nn.Module) -> str:
    """A hash of every parameter's bits."""
    state = hashlib.sha256()
    for _, parameter in model.named_parameters():
        state.update(parameter.numpy().tobytes())
    return state.hexdigest()


def train(
    communicator: Any = None,
    *,
    steps: int = 50,
    dtype: str = "f32",
    sync: bool = True,
    bucket_mb: float | None = None,
    traced: bool = True,
    lr: float = 0.01,
) -> dict[str, Any]:
    """Losses over all samples of each step, a hash of the parameters after each, and what the communicator counted."""
    world = dist.init()
    dt.seed(7)
    network = models.digits_cnn().to(dtype)
    model = dist.data_parallel(dist.convert_sync_batch_norm(network) if sync else network, bucket_mb=bucket_mb)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)

    def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return dist.weighted_mean(loss, len(images))

    run = dt.trace(step) if traced else step
    digits = data.Digits(train=True)
    images = np.stack([np.asarray(digits[i][0]) for i in range(len(digits))]).astype(dt.dtype(dtype).numpy)
    labels = np.array([int(digits[i][1]) for i in range(len(digits))])
    order = np.random.default_rng(0).permutation(len(digits))
    losses, digests = [], []
    for number in range(steps):
        chosen = order[np.arange(number * GLOBAL_BATCH, (number + 1) * GLOBAL_BATCH) % len(order)]
        mine = chosen[parts(number, world.size)[world.rank]]
        losses.append(run(dt.tensor(images[mine]), dt.tensor(labels[mine])).item())
        digests.append(digest(network))
    plan = dist.bucket_plan(run.graphs[0]) if traced else []
    return {
        "losses": losses,
        "digests": digests,
        "counters": world.counters.as_dict(),
        "buckets": [bucket.as_dict() for bucket in plan],
    }
