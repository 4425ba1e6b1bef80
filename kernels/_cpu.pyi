from dtrain.kernels.candidate import Binder, KernelFunction

source_digest: str  # of the sources that it was compiled from, as build_digest.py computes it
version: str

def kernel_table() -> list[tuple[str, str, str, str, str, bool, KernelFunction, Binder | None]]: ...
def set_bfloat16(number: int) -> None: ...
