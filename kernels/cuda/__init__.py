"""CUDA kernels: `.cu` sources that travel as package data and are compiled by CuPy (NVRTC) on first use.

`table` lists every kernel, `launch` says how each is started, `module` compiles. Nothing here imports CuPy before a
kernel runs; `dtrain.kernels.cuda_kernels` puts the table into the registry when a GPU kernel is first asked for.
"""
