from dtrain.kernels.candidate import Binder, KernelFunction

source_digest: str  # of the sources that it was compiled from, as build_digest.py computes it
version: str

def kernel_table() -> list[tuple[str, str, str, str, str, bool, KernelFunction, Binder | None]]: ...
def set_bfloat16(number: int) -> None: ...
def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...  # those that a call may take, Python's own included
def blas_jobs() -> int: ...  # the address of what runs OpenBLAS's jobs on our threads
def set_blas_numbers(count: int) -> None: ...  # that OpenBLAS has for threads
def least_bytes_of_part() -> int: ...  # of a call, to hand it over
def least_bytes_to_wake() -> int: ...  # of a call, to wake a thread for it
def set_least_bytes(of_part: int, to_wake: int) -> None: ...
def parts_run_by_pool() -> int: ...  # since the process began, on other threads than Python's
