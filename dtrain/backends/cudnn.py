"""`backends.cudnn`: dtrain has convolutions of its own; these switches have no effect."""

benchmark = False
deterministic = True
enabled = False
allow_tf32 = False


def is_available() -> bool:
    """Whether cuDNN computes: it does not, whatever is installed."""
    return False


def version() -> None:
    """There is none."""
