"""The handwritten digits that come with dtrain: 1797 images of 8×8 pixels, ready without a download.

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998), UCI Machine
Learning Repository, CC BY 4.0; see digits.ATTRIBUTION.txt.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from dtrain.base.errors import expected
from dtrain.data.dataset import ArrayDataset

_PATH = Path(__file__).with_name("digits.npz")
_MAX_PIXEL = 16
_TEST_EVERY = 5


class Digits(ArrayDataset):
    """Images f32 [1, 8, 8] in [0, 1] with labels s64: 1437 to train on, or 360 held out.

    The split is fixed: with the digits sorted by class, in the order of the file within a class, every fifth is held
    out, so that both parts have each class in the same share.
    """

    def __init__(self, *, train: bool = True) -> None:
        pixels, labels = _load()
        by_class = np.argsort(labels, kind="stable")
        is_held_out = np.arange(len(labels)) % _TEST_EVERY == 0
        # Back in file order, which mixes the classes, for whoever does not shuffle.
        chosen = np.sort(by_class[~is_held_out if train else is_held_out])
        images = pixels[chosen, None].astype(np.float32) / np.float32(_MAX_PIXEL)
        super().__init__(images, labels[chosen].astype(np.int64))

    @property
    def images(self) -> np.ndarray:
        """f32 [N, 1, 8, 8]."""
        return self.arrays[0]

    @property
    def labels(self) -> np.ndarray:
        """s64 [N], 0 to 9."""
        return self.arrays[1]


@cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(_PATH) as file:
            return file["images"], file["labels"]
    except (OSError, KeyError, ValueError) as error:
        advice = "reinstall dtrain"
        raise RuntimeError(
            expected("Digits", f"the data file {_PATH.name} of the package", str(error), advice)
        ) from None
