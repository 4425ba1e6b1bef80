// NumPy's array as C sees it: the members of PyArrayObject and PyArray_Descr that kernels read.
//
// NumPy documents both and keeps them as part of its ABI (1.x and 2.x alike). Written down here, because its headers
// would make it a requirement of the build. `find_numpy` compares them with a real array before any kernel runs.
#pragma once

#include <Python.h>

namespace dtrain {

struct NumpyDescr {
  PyObject_HEAD
  PyTypeObject* scalar_type;
  char kind, type, byteorder, flags;
  int type_num;  // NPY_TYPES, or what a type registered at run time was given
};

struct NumpyArray {
  PyObject_HEAD
  char* data;
  int nd;
  Py_ssize_t* dimensions;
  Py_ssize_t* strides;
  PyObject* base;
  NumpyDescr* descr;
  int flags;
};

constexpr int kNumpyContiguous = 0x0001, kNumpyAligned = 0x0100, kNumpyWriteable = 0x0400;

extern PyTypeObject* numpy_array_type;

// Imports NumPy and checks that its arrays are as above. Throws std::runtime_error where they are not.
void find_numpy();

inline bool is_numpy_array(PyObject* object) { return PyObject_TypeCheck(object, numpy_array_type); }
inline const NumpyArray* as_numpy_array(PyObject* object) { return reinterpret_cast<const NumpyArray*>(object); }

}  // namespace dtrain
