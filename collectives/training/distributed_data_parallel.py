"""Data parallelism under PyTorch's name and with its arguments."""

from __future__ import annotations

from typing import Any

from dtrain.base.device import Device
from dtrain.collectives.public.calls import Group, as_group
from dtrain.collectives.training.data_parallel_model import DataParallel, data_parallel
from dtrain.nn.module import Module


class DistributedDataParallel(DataParallel):
    """`data_parallel` under PyTorch's name: gradients are averaged over the samples of all ranks.

    Args:
        device_ids, output_device: not needed; move the model with `.to(device)` first.
        process_group: a group of `new_group`, by default the world.
        bucket_cap_mb: largest gradient bucket in MiB.
        options: PyTorch's others are taken and not needed: parameters without a gradient are found without
            `find_unused_parameters`, and buffers follow rank 0 whatever `broadcast_buffers` says.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        *,
        process_group: Group = None,
        bucket_cap_mb: float | None = None,
        **options: Any,
    ) -> None:
        unknown = set(options) - _NOT_NEEDED
        if unknown:
            raise TypeError(
                f"DistributedDataParallel: expected arguments of PyTorch's, got {', '.join(sorted(unknown))}; "
                "data_parallel takes group, bucket_mb and ignore_first"
            )
        handle = data_parallel(module, group=as_group(process_group), bucket_mb=bucket_cap_mb)
        self.module, self.boundary = handle.module, handle.boundary
        self.device_ids, self.output_device, self.process_group = device_ids, output_device, process_group
        self.find_unused_parameters = bool(options.get("find_unused_parameters", False))

    @property
    def device(self) -> Device | None:
        """Where the model's first parameter lies; None without one."""
        first = next(self.module.parameters(), None)
        return None if first is None else first.device


_NOT_NEEDED = {
    "broadcast_buffers", "check_reduction", "dim", "find_unused_parameters", "gradient_as_bucket_view", "init_sync",
    "mixed_precision", "static_graph",
}  # fmt: skip
