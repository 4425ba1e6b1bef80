"""Saving and loading: nested tensors in one file, whole training runs, the newest of a folder."""

from dtrain.checkpoint.file import load as load
from dtrain.checkpoint.file import save as save
from dtrain.checkpoint.training import latest as latest
from dtrain.checkpoint.training import load_checkpoint as load_checkpoint
from dtrain.checkpoint.training import save_checkpoint as save_checkpoint
