"""Optimizers, learning-rate schedules and gradient clipping."""

from typing import TYPE_CHECKING

from dtrain.base import names as _names
from dtrain.base.spelling import spell_all as _spell_all
from dtrain.optim.adam import Adam as Adam
from dtrain.optim.adam import AdamW as AdamW
from dtrain.optim.clipping import clip_grad_norm_ as clip_grad_norm_
from dtrain.optim.clipping import clip_grad_value_ as clip_grad_value_
from dtrain.optim.lr_scheduler import LRScheduler as LRScheduler
from dtrain.optim.optimizer import Optimizer as Optimizer
from dtrain.optim.parameter_group import ParameterGroup as ParameterGroup
from dtrain.optim.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from dtrain.optim.schedules import ChainedScheduler as ChainedScheduler
from dtrain.optim.schedules import ConstantLR as ConstantLR
from dtrain.optim.schedules import CosineAnnealingLR as CosineAnnealingLR
from dtrain.optim.schedules import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from dtrain.optim.schedules import ExponentialLR as ExponentialLR
from dtrain.optim.schedules import LambdaLR as LambdaLR
from dtrain.optim.schedules import LinearLR as LinearLR
from dtrain.optim.schedules import LinearWarmup as LinearWarmup
from dtrain.optim.schedules import MultiStepLR as MultiStepLR
from dtrain.optim.schedules import OneCycleLR as OneCycleLR
from dtrain.optim.schedules import PolynomialLR as PolynomialLR
from dtrain.optim.schedules import SequentialLR as SequentialLR
from dtrain.optim.schedules import StepLR as StepLR
from dtrain.optim.sgd import SGD as SGD

_spell_all(globals())

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("optim", name, globals())
