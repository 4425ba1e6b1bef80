#include "binding/call.h"

#include "binding/numpy_array.h"

namespace dtrain {

int bfloat16_type_number = -1;

void Call::fail(PyObject* type, const std::string& what) {
  throw ArgumentError(type, std::string(kernel_) + ": expected " + what);
}

PyObject* Call::argument(int index) {
  if (index >= num_inputs_) {
    fail(PyExc_TypeError, "at least " + std::to_string(index + 1) + " inputs, got " + std::to_string(num_inputs_));
  }
  return args_[index];
}

PyObject* Call::find(const char* name) {
  const Py_ssize_t count = keywords_ == nullptr ? 0 : PyTuple_GET_SIZE(keywords_);
  for (Py_ssize_t tried = 0; tried < count; ++tried) {
    const Py_ssize_t index = (next_keyword_ + tried) % count;
    if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords_, index), name) == 0) {
      next_keyword_ = index + 1;
      return args_[num_inputs_ + index];
    }
  }
  return nullptr;
}

PyObject* Call::attribute(const char* name) {
  PyObject* found = find(name);
  if (found == nullptr) fail(PyExc_TypeError, std::string("the keyword ") + name + ", which is missing");
  return found;
}

PyObject* Call::output_object(int index) {
  if (out_ == nullptr) out_ = attribute("out");
  if (!PyTuple_Check(out_) && !PyList_Check(out_)) return out_;
  if (index >= PySequence_Fast_GET_SIZE(out_)) {
    fail(PyExc_TypeError, "at least " + std::to_string(index + 1) + " outputs");
  }
  return PySequence_Fast_GET_ITEM(out_, index);
}

bool Call::has_type(PyObject* object, bool (*test)(int)) {
  if (!is_numpy_array(object)) {
    fail(PyExc_TypeError, std::string("NumPy arrays, got ") + Py_TYPE(object)->tp_name);
  }
  return test(as_numpy_array(object)->descr->type_num);
}

void Call::wrong_type(int index, const char* wanted) {
  const std::string which = index >= 0 ? "input " + std::to_string(index) : "output " + std::to_string(-1 - index);
  fail(PyExc_TypeError, which + " of dtype " + wanted + ", got another; cast it first");
}

Array<void> Call::untyped_view(PyObject* object, int ndim, bool written) {
  const NumpyArray* array = as_numpy_array(object);
  if (ndim >= 0 && array->nd != ndim) {
    fail(PyExc_ValueError, std::to_string(ndim) + " dimensions, got " + std::to_string(array->nd));
  }
  const int wanted = kNumpyContiguous | kNumpyAligned | (written ? kNumpyWriteable : 0);
  if ((array->flags & wanted) != wanted) {
    fail(PyExc_ValueError, "C-contiguous aligned inputs and writable outputs, got other strides; copy them first");
  }
  Array<void> result{array->data, array->dimensions, array->nd, 1};
  for (int i = 0; i < array->nd; ++i) result.size *= array->dimensions[i];
  return result;
}

void* Call::scratch(std::int64_t nbytes) {
  if (nbytes == 0) return nullptr;
  Array<void> memory{nullptr, nullptr, 1, 0};
  if (PyObject* given = find("workspace")) {
    if (!has_type(given, &Element<std::uint8_t>::is)) fail(PyExc_TypeError, "a workspace of dtype u8, got another");
    memory = untyped_view(given, 1, true);
  }
  char* begin = static_cast<char*>(memory.data);
  void* piece = begin + workspace_used_;
  workspace_used_ += aligned(nbytes);
  workspace_size_ = memory.size;
  if (workspace_used_ > memory.size) {
    throw ArgumentError(PyExc_ValueError, std::string(kernel_) + ": workspace: expected at least " +
                                              std::to_string(workspace_used_) + " bytes, got " +
                                              std::to_string(memory.size) + ": plan what Candidate.workspace says");
  }
  expect(reinterpret_cast<std::uintptr_t>(begin) % kWorkspaceAlignment == 0,
         "a workspace that begins at a multiple of 64 bytes");
  return piece;
}

Scalar Call::scalar_input(int index) {
  if (input_is(index, &Element<float>::is)) return {view<const float>(args_[index], 0, false).data, false};
  if (input_is(index, &Element<double>::is)) return {view<const double>(args_[index], 0, false).data, true};
  wrong_type(index, "f32 or f64");
}

std::int64_t Call::integer(const char* name) {
  const long long value = PyLong_AsLongLong(attribute(name));
  if (value == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    fail(PyExc_TypeError, std::string(name) + " to be an integer");
  }
  return value;
}

double Call::number(const char* name) {
  const double value = PyFloat_AsDouble(attribute(name));
  if (value == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    fail(PyExc_TypeError, std::string(name) + " to be a number");
  }
  return value;
}

bool Call::flag(const char* name) {
  const int value = PyObject_IsTrue(attribute(name));
  if (value < 0) {
    PyErr_Clear();
    fail(PyExc_TypeError, std::string(name) + " to be true or false");
  }
  return value == 1;
}

const char* Call::text(const char* name) {
  const char* value = PyUnicode_AsUTF8(attribute(name));
  if (value == nullptr) {
    PyErr_Clear();
    fail(PyExc_TypeError, std::string(name) + " to be a string");
  }
  return value;
}

std::vector<double> Call::numbers(const char* name, Py_ssize_t count) {
  PyObject* given = attribute(name);
  if ((!PyTuple_Check(given) && !PyList_Check(given)) || PySequence_Fast_GET_SIZE(given) != count) {
    fail(PyExc_TypeError, std::string(name) + " to be a tuple of " + std::to_string(count) + " numbers");
  }
  std::vector<double> values(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    values[i] = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(given, i));
    if (values[i] == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      fail(PyExc_TypeError, std::string(name) + " to be a tuple of numbers");
    }
  }
  return values;
}

void Call::read_items(PyObject* tuple, const char* name, std::int64_t* values, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < count; ++i) {
    values[i] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(tuple, i));
    if (values[i] == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      fail(PyExc_TypeError, std::string(name) + " to be a tuple of integers");
    }
  }
}

void Call::read_integers(const char* name, std::int64_t* values, Py_ssize_t count) {
  PyObject* given = attribute(name);
  if ((!PyTuple_Check(given) && !PyList_Check(given)) || PySequence_Fast_GET_SIZE(given) != count) {
    fail(PyExc_TypeError, std::string(name) + " to be a tuple of " + std::to_string(count) + " integers");
  }
  read_items(given, name, values, count);
}

std::vector<std::int64_t> Call::integer_list(const char* name) {
  PyObject* given = attribute(name);
  if (!PyTuple_Check(given) && !PyList_Check(given)) {
    fail(PyExc_TypeError, std::string(name) + " to be a tuple of integers");
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(given)));
  read_items(given, name, values.data(), static_cast<Py_ssize_t>(values.size()));
  return values;
}

}  // namespace dtrain
