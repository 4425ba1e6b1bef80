"""Checkpoints of a training run: model, optimizer, scheduler, data loader and random numbers in one file."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dtrain.base.errors import DtrainError
from dtrain.base.rank_info import RankInfo, rank_tag
from dtrain.checkpoint.file import PathLike, is_complete, load, save
from dtrain.checkpoint.header import broken
from dtrain.core.random import Generator, default_generator

_KIND = "training"
_ALWAYS = ("random", "epoch", "step", "extra")  # part of every run, whatever else it has


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
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise broken(path, "a folder to write to", str(error)) from error
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
        CheckpointError: the file is no checkpoint of a run, lacks a part that was asked for, or was made for another
            model, optimizer, scheduler or loader. Every part is then as it was, so that another file may be tried.
    """
    content = load(path)
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise broken(path, "one written by save_checkpoint", "another value", "read it with load()")
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    wanted = {name: part for name, part in parts.items() if part is not None}
    missing = [name for name in [*wanted, *_ALWAYS] if name not in content]
    if missing:
        has = ", ".join(name for name in parts if name in content)
        raise broken(path, f"a state of {', '.join(missing)}", has, "leave it out, or save with it")
    stream = _stream_of(path, content["random"], _rank(rank))
    _load_parts(path, wanted, content)
    if random:
        default_generator().state.assign_(stream.state)
    return {name: content[name] for name in ("epoch", "step", "extra")}


def _load_parts(path: PathLike, parts: Mapping[str, Stateful], content: Mapping[str, Any]) -> None:
    """All or none: our own parts check a state before they take it, so only those before the one that fails change."""
    before: list[tuple[Stateful, Any]] = []
    try:
        for number, (name, part) in enumerate(parts.items(), 1):
            # A copy, since states share memory with their owners; the last part needs none.
            kept = copy.deepcopy(part.state_dict()) if number < len(parts) else None
            _load_part(path, name, part, content[name])
            before.append((part, kept))
    except Exception:
        for part, state in reversed(before):  # a schedule was asked when its optimizer had changed already
            part.load_state_dict(state)
        raise


def _load_part(path: PathLike, name: str, part: Stateful, state: Any) -> None:
    try:
        part.load_state_dict(state)
    except (DtrainError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        # Texts of our own say what does not fit; what else comes out is of a state that is none.
        is_worded = isinstance(error, DtrainError | KeyError | ValueError) and error.args
        text = str(error.args[0]).removeprefix(rank_tag()) if is_worded else f"{error!r}"
        raise broken(path, f"a state that this {name} can load", "another", text) from error


def latest(folder: PathLike, pattern: str = "*.safetensors") -> Path | None:
    """The newest whole checkpoint in a folder, or None: the one with the largest last number in its name.

    Names without a number come before those with one; among equals the later written wins. Files that are cut short,
    damaged in their header, or something else are passed over.
    """
    found = [(_age(path), path) for path in Path(folder).glob(pattern) if is_complete(path)]
    return max(found, default=(None, None))[1]


def _age(path: Path) -> tuple[int, str, float]:
    """Sorts by number, of any length, then by time."""
    numbers = re.findall(r"[0-9]+", path.stem)
    digits = numbers[-1].lstrip("0") if numbers else ""
    try:
        written = path.stat().st_mtime
    except OSError:  # another rank's clean-up was quicker
        written = 0.0
    return len(digits) + bool(numbers), digits, written


def _stream_of(path: PathLike, state: Any, rank: int) -> Generator:
    """Rank 0's stream is the seed's own; the streams of other ranks follow from its key."""
    match state:
        case {"key": int(), "offset": int()} if len(state) == 2 and all(abs(n) < 2**63 for n in state.values()):
            pass
        case _:
            raise broken(path, "the place of a random stream", f"{state!r:.80}", "use another file")
    generator = Generator()
    generator.load_state_dict(state)
    if rank:
        key = generator.fold_in(rank).state_dict()["key"]
        generator.load_state_dict({"key": key, "offset": state["offset"]})
    return generator


def _rank(rank: int | None) -> int:
    return RankInfo.from_environment().rank if rank is None else rank
