"""Modules: layers, losses, containers, and how to initialize them."""

from typing import TYPE_CHECKING

from dtrain.base import names as _names
from dtrain.base.spelling import spell_all as _spell_all
from dtrain.core.tensor import Parameter as Parameter
from dtrain.nn import init as init
from dtrain.nn.activation import CELU as CELU
from dtrain.nn.activation import ELU as ELU
from dtrain.nn.activation import GELU as GELU
from dtrain.nn.activation import GLU as GLU
from dtrain.nn.activation import SELU as SELU
from dtrain.nn.activation import Hardsigmoid as Hardsigmoid
from dtrain.nn.activation import Hardswish as Hardswish
from dtrain.nn.activation import Hardtanh as Hardtanh
from dtrain.nn.activation import LeakyReLU as LeakyReLU
from dtrain.nn.activation import LogSigmoid as LogSigmoid
from dtrain.nn.activation import LogSoftmax as LogSoftmax
from dtrain.nn.activation import Mish as Mish
from dtrain.nn.activation import PReLU as PReLU
from dtrain.nn.activation import ReLU as ReLU
from dtrain.nn.activation import ReLU6 as ReLU6
from dtrain.nn.activation import Sigmoid as Sigmoid
from dtrain.nn.activation import SiLU as SiLU
from dtrain.nn.activation import Softmax as Softmax
from dtrain.nn.activation import Softmin as Softmin
from dtrain.nn.activation import Softplus as Softplus
from dtrain.nn.activation import Softsign as Softsign
from dtrain.nn.activation import Tanh as Tanh
from dtrain.nn.activation import Tanhshrink as Tanhshrink
from dtrain.nn.attention import Attention as Attention
from dtrain.nn.batch_norm import BatchNorm as BatchNorm
from dtrain.nn.batch_norm import BatchNorm1d as BatchNorm1d
from dtrain.nn.batch_norm import BatchNorm2d as BatchNorm2d
from dtrain.nn.batch_norm import SyncBatchNorm as SyncBatchNorm
from dtrain.nn.containers import ModuleDict as ModuleDict
from dtrain.nn.containers import ModuleList as ModuleList
from dtrain.nn.containers import Sequential as Sequential
from dtrain.nn.convolution import Conv1d as Conv1d
from dtrain.nn.convolution import Conv2d as Conv2d
from dtrain.nn.convolution import ConvTranspose2d as ConvTranspose2d
from dtrain.nn.distance import CosineSimilarity as CosineSimilarity
from dtrain.nn.distance import PairwiseDistance as PairwiseDistance
from dtrain.nn.dropout import Dropout as Dropout
from dtrain.nn.dropout import Dropout2d as Dropout2d
from dtrain.nn.embedding import Embedding as Embedding
from dtrain.nn.linear import Flatten as Flatten
from dtrain.nn.linear import Identity as Identity
from dtrain.nn.linear import Linear as Linear
from dtrain.nn.linear import Unflatten as Unflatten
from dtrain.nn.loss import BCELoss as BCELoss
from dtrain.nn.loss import BCEWithLogitsLoss as BCEWithLogitsLoss
from dtrain.nn.loss import CrossEntropyLoss as CrossEntropyLoss
from dtrain.nn.loss import HuberLoss as HuberLoss
from dtrain.nn.loss import KLDivLoss as KLDivLoss
from dtrain.nn.loss import L1Loss as L1Loss
from dtrain.nn.loss import MarginRankingLoss as MarginRankingLoss
from dtrain.nn.loss import MSELoss as MSELoss
from dtrain.nn.loss import NLLLoss as NLLLoss
from dtrain.nn.loss import SmoothL1Loss as SmoothL1Loss
from dtrain.nn.loss import TripletMarginLoss as TripletMarginLoss
from dtrain.nn.module import Module as Module
from dtrain.nn.multihead_attention import MultiheadAttention as MultiheadAttention
from dtrain.nn.normalization import GroupNorm as GroupNorm
from dtrain.nn.normalization import InstanceNorm1d as InstanceNorm1d
from dtrain.nn.normalization import InstanceNorm2d as InstanceNorm2d
from dtrain.nn.normalization import InstanceNorm3d as InstanceNorm3d
from dtrain.nn.normalization import LayerNorm as LayerNorm
from dtrain.nn.normalization import RMSNorm as RMSNorm
from dtrain.nn.padding import CircularPad1d as CircularPad1d
from dtrain.nn.padding import CircularPad2d as CircularPad2d
from dtrain.nn.padding import CircularPad3d as CircularPad3d
from dtrain.nn.padding import ConstantPad1d as ConstantPad1d
from dtrain.nn.padding import ConstantPad2d as ConstantPad2d
from dtrain.nn.padding import ConstantPad3d as ConstantPad3d
from dtrain.nn.padding import ReflectionPad1d as ReflectionPad1d
from dtrain.nn.padding import ReflectionPad2d as ReflectionPad2d
from dtrain.nn.padding import ReflectionPad3d as ReflectionPad3d
from dtrain.nn.padding import ReplicationPad1d as ReplicationPad1d
from dtrain.nn.padding import ReplicationPad2d as ReplicationPad2d
from dtrain.nn.padding import ReplicationPad3d as ReplicationPad3d
from dtrain.nn.padding import ZeroPad1d as ZeroPad1d
from dtrain.nn.padding import ZeroPad2d as ZeroPad2d
from dtrain.nn.padding import ZeroPad3d as ZeroPad3d
from dtrain.nn.parameter_containers import ParameterDict as ParameterDict
from dtrain.nn.parameter_containers import ParameterList as ParameterList
from dtrain.nn.parameter_vector import parameters_to_vector as parameters_to_vector
from dtrain.nn.parameter_vector import vector_to_parameters as vector_to_parameters
from dtrain.nn.pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from dtrain.nn.pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from dtrain.nn.pooling import AvgPool1d as AvgPool1d
from dtrain.nn.pooling import AvgPool2d as AvgPool2d
from dtrain.nn.pooling import MaxPool1d as MaxPool1d
from dtrain.nn.pooling import MaxPool2d as MaxPool2d
from dtrain.nn.resampling import PixelShuffle as PixelShuffle
from dtrain.nn.resampling import PixelUnshuffle as PixelUnshuffle
from dtrain.nn.resampling import Upsample as Upsample
from dtrain.nn.resampling import UpsamplingBilinear2d as UpsamplingBilinear2d
from dtrain.nn.resampling import UpsamplingNearest2d as UpsamplingNearest2d
from dtrain.nn.transformer import Transformer as Transformer
from dtrain.nn.transformer import TransformerDecoder as TransformerDecoder
from dtrain.nn.transformer import TransformerEncoder as TransformerEncoder
from dtrain.nn.transformer_layers import TransformerDecoderLayer as TransformerDecoderLayer
from dtrain.nn.transformer_layers import TransformerEncoderLayer as TransformerEncoderLayer

_spell_all(globals())

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("nn", name, globals())
