"""Saving and loading: nested tensors in one file, whole training runs, the newest of a folder."""

from typing import TYPE_CHECKING

from dtrain.base import names as _names
from dtrain.base.spelling import spell_all as _spell_all
from dtrain.checkpoint.file import load as load
from dtrain.checkpoint.file import save as save
from dtrain.checkpoint.training import latest as latest
from dtrain.checkpoint.training import load_checkpoint as load_checkpoint
from dtrain.checkpoint.training import save_checkpoint as save_checkpoint

_spell_all(globals())

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("checkpoint", name, globals())
