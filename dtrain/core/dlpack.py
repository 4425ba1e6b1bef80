"""bf16 through DLPack, which NumPy can neither give nor take: its bytes travel as u16, under the right label.

A DLPack capsule holds a struct that says what the elements are (code 4, 16 bits for bf16). The array lends its memory
as u16, and the label in the struct is changed on the way.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from dtrain.base.errors import DtypeError, expected

_UNSIGNED, _BFLOAT, _BITS = 1, 4, 16
# Where the label (code, bits) lies: behind data, device and ndim of the tensor; in the versioned struct that comes
# behind version, context, deleter and flags.
_LABEL_AT = {b"dltensor": 20, b"dltensor_versioned": 52}

_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.argtypes, _name_of.restype = [ctypes.py_object], ctypes.c_char_p
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


def _label(capsule: Any) -> Any:
    """The two bytes (code, bits) of a capsule, to read and to write."""
    name = _name_of(capsule)
    address = _pointer_of(capsule, name)
    return (ctypes.c_uint8 * 2).from_address(address + _LABEL_AT[name])


def export_bf16(array: np.ndarray, options: dict[str, Any]) -> Any:
    """The DLPack capsule of a bf16 array on the CPU."""
    capsule = array.view(np.uint16).__dlpack__(**options)
    _label(capsule)[0] = _BFLOAT
    return capsule


class _Relabelled:
    """An owner whose bf16 elements are shown to NumPy as u16."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.is_bf16 = False

    def __dlpack__(self, **options: Any) -> Any:
        try:
            capsule = self.owner.__dlpack__(**options)
        except TypeError:  # an owner from before these options
            capsule = self.owner.__dlpack__()
        label = _label(capsule)
        self.is_bf16 = (label[0], label[1]) == (_BFLOAT, _BITS)
        if self.is_bf16:
            label[0] = _UNSIGNED
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self.owner.__dlpack_device__()
        return device


def import_cpu(owner: Any) -> np.ndarray:
    """The array of a DLPack owner on the CPU, sharing its memory.

    Raises:
        DtypeError: elements that dtrain has no dtype for.
    """
    shown = _Relabelled(owner)
    try:
        array = np.from_dlpack(shown)
    except (BufferError, RuntimeError) as error:
        given = f"{getattr(owner, 'dtype', 'elements')} of {type(owner).__name__} ({error})"
        raise DtypeError(expected("from_dlpack", "elements of a dtype that dtrain has", given, "cast first")) from error
    return array.view(ml_dtypes.bfloat16) if shown.is_bf16 else array
