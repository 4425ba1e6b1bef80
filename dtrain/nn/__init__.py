"""Modules: layers, losses, containers, and how to initialize them."""

from dtrain.core.tensor import Parameter as Parameter
from dtrain.nn.containers import ModuleDict as ModuleDict
from dtrain.nn.containers import ModuleList as ModuleList
from dtrain.nn.containers import Sequential as Sequential
from dtrain.nn.module import Module as Module
