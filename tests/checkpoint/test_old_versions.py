"""Checkpoints of every version of the format, kept as files: they are read for ever.

Whoever raises the version adds `version-N-value` and `version-N-run`, saved by the code of that version with the
contents below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dtrain as dt
from dtrain import data, nn, optim
from dtrain.base.dtype import ALL
from dtrain.checkpoint import latest, load, load_checkpoint
from dtrain.checkpoint.header import VERSION
from dtrain.core import random

FIXTURES = Path(__file__).with_name("fixtures")
VERSIONS = range(1, VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_values_are_read(version):
    value = load(FIXTURES / f"version-{version}-value.safetensors")
    assert isinstance(value["layer"]["weight"], dt.Tensor)
    assert value["layer"]["weight"].tolist() == [[1, 2], [3, 4]] and value["layer"]["names"] == ["a", "b"]
    assert value["pair"] == (1, 2.5) and value["none"] is None and value["flag"] is True
    for dtype in ALL:
        array = value["every dtype"][dtype.tag]
        assert array.dtype == dtype.numpy and array.tolist() == [0, 1, 0]
    assert value["scalar"].shape == () and value["scalar"] == 7 and value["scalar"].dtype == np.int64
    assert value["empty"].shape == (0, 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_runs_are_resumed(version):
    model = nn.Linear(4, 2)
    optimizer = optim.Adam(model.parameters(), 0.1)
    scheduler = optim.ExponentialLR(optimizer, 0.5)
    loader = data.DataLoader(data.ArrayDataset(np.arange(24, dtype=np.float32).reshape(6, 4)), 2, shuffle=True)
    path = FIXTURES / f"version-{version}-run.safetensors"
    kept = dt.default_generator().state_dict()
    try:
        # Loaders counted batches before they counted samples; the file format is the same.
        with pytest.warns(UserWarning, match="counts batches"):
            facts = load_checkpoint(path, model=model, optimizer=optimizer, scheduler=scheduler, loader=loader)
        drawn = random.normal((2,)).tolist()
        random.seed(3)
        nn.Linear(4, 2)  # draws its parameters
        random.normal((3,))
        assert drawn == random.normal((2,)).tolist()
    finally:
        dt.default_generator().load_state_dict(kept)
    assert facts == {"epoch": 0, "step": 2, "extra": {"best": 0.25}}
    np.testing.assert_allclose(model.weight.numpy()[0], [-0.14276822, 0.85681981, 1.85646415, 2.85615468], rtol=1e-6)
    moments = optimizer.state_dict()["state"]["0"]
    np.testing.assert_allclose(moments["exp_avg"].numpy()[1, 0], 2296.8, rtol=1e-6)
    assert moments["step"] == 2 and scheduler.num_steps == 2 and optimizer.param_groups[0]["lr"] == 0.025
    assert loader.state_dict()["num_samples"] == 4


def test_every_version_has_its_files():
    assert {path.name for path in FIXTURES.iterdir()} == {
        f"version-{version}-{kind}.safetensors" for version in VERSIONS for kind in ("value", "run")
    }
    assert latest(FIXTURES) is not None
