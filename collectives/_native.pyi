from collections.abc import Sequence

from dtrain.collectives.programs.rank_order import Array

source_digest: str  # of the sources that it was compiled from, as kernels/build_digest.py computes it
version: str

class Meeting:
    def __new__(cls, regions: Sequence[Array], rank: int, first_frame: int, frame_bytes: int) -> Meeting: ...
    def meet(self, number: int, frame: int, /) -> int: ...
    def wait(self, number: int, frame: int, sleeps: bool, /) -> int: ...
