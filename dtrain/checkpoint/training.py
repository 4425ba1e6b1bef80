"""Checkpoints of a training run: model, optimizer, scheduler, data loader and random numbers in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dtrain.base.errors import CheckpointError, expected
from dtrain.base.rank_info import RankInfo
from dtrain.checkpoint.file import PathLike, is_complete, load, save
from dtrain.core.random import Generator, default_generator

_KIND = "training"


class Stateful(Protocol):
    """Has a state to save: modules, optimizers, schedulers, loaders."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def save_checkpoint(
    path: PathLike,
    *,
    model: Stateful,
    optimizer: Stateful | None = None,
    scheduler: Stateful | None = None,
    loader: Stateful | None = None,
    epoch: int | None = None,
    step: int | None = None,
    extra: Any = None,
    rank: int | None = None,
) -> bool:
    """Save a run so that `load_checkpoint` can go on with it. The folder is made if it does not exist.

    Call it on every rank: rank 0 writes, the others return at once without waiting for it.

    Args:
        extra: anything nested of tensors, numbers and texts.
        rank: this process's rank, by default the one that the environment tells.

    Returns:
        Whether this rank wrote.
    """
    if _rank(rank) != 0:
        return False
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    states = {name: part.state_dict() for name, part in parts.items() if part is not None}
    random = default_generator().state_dict()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save(path, {"kind": _KIND, **states, "random": random, "epoch": epoch, "step": step, "extra": extra})
    return True


def load_checkpoint(
    path: PathLike,
    *,
    model: Stateful | None = None,
    optimizer: Stateful | None = None,
    scheduler: Stateful | None = None,
    loader: Stateful | None = None,
    random: bool = True,
    rank: int | None = None,
) -> dict[str, Any]:
    """Put the given parts into the state that the file holds; every rank reads it.

    With `random`, this rank's default generator goes on as if it had drawn as many numbers as rank 0 had.

    Returns:
        epoch, step and extra, as they were saved.

    Raises:
        CheckpointError: the file is no checkpoint of a run, or lacks a part that was asked for.
    """
    content = load(path)
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise CheckpointError(
            expected(f"checkpoint {path}", "one written by save_checkpoint", "another value", "read it with load()")
        )
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    wanted = {name: part for name, part in parts.items() if part is not None}
    missing = [name for name in wanted if name not in content]
    if missing:
        has = ", ".join(name for name in parts if name in content)
        advice = "leave it out, or save with it"
        raise CheckpointError(expected(f"checkpoint {path}", f"a state of {', '.join(missing)}", has, advice))
    for name, part in wanted.items():
        part.load_state_dict(content[name])
    if random:
        _restore_random(content["random"], _rank(rank))
    return {name: content[name] for name in ("epoch", "step", "extra")}


def latest(folder: PathLike, pattern: str = "*.safetensors") -> Path | None:
    """The newest whole checkpoint in a folder, or None: the one with the largest last number in its name.

    Names without a number come before those with one; among equals the later written wins.
    """
    found = [path for path in Path(folder).glob(pattern) if is_complete(path)]
    return max(found, key=_age, default=None)


def _age(path: Path) -> tuple[int, float]:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1, path.stat().st_mtime


def _restore_random(state: dict[str, int], rank: int) -> None:
    """Rank 0's stream is the seed's own; the streams of other ranks follow from its key."""
    generator = Generator()
    generator.load_state_dict(state)
    if rank:
        key = generator.fold_in(rank).state_dict()["key"]
        generator.load_state_dict({"key": key, "offset": state["offset"]})
    default_generator().state.assign_(generator.state)


def _rank(rank: int | None) -> int:
    return RankInfo.from_environment().rank if rank is None else rank
