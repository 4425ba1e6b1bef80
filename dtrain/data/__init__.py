"""Datasets, samplers that share them out over ranks, loaders that fetch batches ahead, and the bundled digits."""

from typing import TYPE_CHECKING

from dtrain.base import names as _names
from dtrain.base.spelling import spell_all as _spell_all
from dtrain.data.batch_sampler import BatchSampler as BatchSampler
from dtrain.data.collate import collate as collate
from dtrain.data.dataset import ArrayDataset as ArrayDataset
from dtrain.data.dataset import ConcatDataset as ConcatDataset
from dtrain.data.dataset import Dataset as Dataset
from dtrain.data.dataset import Subset as Subset
from dtrain.data.dataset import TensorDataset as TensorDataset
from dtrain.data.dataset import random_split as random_split
from dtrain.data.digits import Digits as Digits
from dtrain.data.distributed_sampler import DistributedSampler as DistributedSampler
from dtrain.data.index_sampler import RandomSampler as RandomSampler
from dtrain.data.index_sampler import Sampler as Sampler
from dtrain.data.index_sampler import SequentialSampler as SequentialSampler
from dtrain.data.index_sampler import SubsetRandomSampler as SubsetRandomSampler
from dtrain.data.index_sampler import WeightedRandomSampler as WeightedRandomSampler
from dtrain.data.loader import DataLoader as DataLoader
from dtrain.data.sampler import RankShardedSampler as RankShardedSampler
from dtrain.data.stream import ChainDataset as ChainDataset
from dtrain.data.stream import IterableDataset as IterableDataset
from dtrain.data.worker_info import get_worker_info as get_worker_info

_spell_all(globals())

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("data", name, globals())
