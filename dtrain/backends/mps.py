"""`backends.mps`: dtrain does not compute on Apple's GPUs."""


def is_available() -> bool:
    """Always False."""
    return False


def is_built() -> bool:
    """Always False."""
    return False
