#include "binding/numpy_array.h"

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>

#include "binding/element.h"

namespace dtrain {

namespace py = pybind11;

PyTypeObject* numpy_array_type = nullptr;

void find_numpy() {
  const py::module_ numpy = py::module_::import("numpy");
  const py::object probe = numpy.attr("zeros")(py::make_tuple(2, 3), "f4");
  auto* type = Py_TYPE(probe.ptr());
  const NumpyArray* array = as_numpy_array(probe.ptr());
  const auto address = probe.attr("__array_interface__")["data"][py::int_(0)].cast<std::uintptr_t>();
  const int all_flags = kNumpyContiguous | kNumpyAligned | kNumpyWriteable;
  const bool is_as_declared = type->tp_basicsize >= static_cast<Py_ssize_t>(sizeof(NumpyArray)) && array->nd == 2 && array->dimensions[0] == 2 && array->dimensions[1] == 3 &&
                              array->data == reinterpret_cast<char*>(address) &&
                              (array->flags & all_flags) == all_flags &&
                              reinterpret_cast<PyObject*>(array->descr) == py::object(probe.attr("dtype")).ptr() &&
                              Element<float>::is(array->descr->type_num);
  if (!is_as_declared) {
    throw std::runtime_error("dtrain.kernels: expected NumPy's arrays as of versions 1 and 2, got others; this version "
                             "of dtrain cannot work with version " +
                             numpy.attr("__version__").cast<std::string>());
  }
  numpy_array_type = type;
}

}  // namespace dtrain
