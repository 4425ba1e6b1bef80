"""`backends.cuda`: f32 products are computed in f32; the switch has no effect."""

from types import SimpleNamespace

matmul = SimpleNamespace(allow_tf32=False)
