// Reads the arguments of one kernel call, `kernel(*inputs, out=..., **attrs)`, straight from the vectorcall stack.
//
// Everything a raw pointer relies on is checked here (dtype, contiguity, writability, sizes), because a kernel checks
// nothing; a failed check throws ArgumentError, which becomes the Python exception. Only call.cpp looks into NumPy's
// arrays.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "binding/element.h"
#include "binding/gil.h"

namespace dtrain {

struct ArgumentError : std::runtime_error {
  ArgumentError(PyObject* kind, const std::string& text) : std::runtime_error(text), type(kind) {}
  PyObject* type;
};

template <typename T>
struct Array {
  T* data;
  const Py_ssize_t* shape;
  int ndim;
  std::int64_t size;
};

constexpr std::int64_t kWorkspaceAlignment = 64;

// Room for several parts of a call.
template <typename T>
struct Workspaces {
  T* first;
  std::int64_t apart, count;
  T* of(std::int64_t part) const { return first + part * apart; }
};

// A number in an array, read when it is asked for.
struct Scalar {
  const void* data;
  bool is_f64;
  double value() const { return is_f64 ? *static_cast<const double*>(data) : *static_cast<const float*>(data); }
};

class Call {
 public:
  Call(const char* kernel, PyObject* const* args, Py_ssize_t num_inputs, PyObject* keywords)
      : kernel_(kernel), args_(args), num_inputs_(num_inputs), keywords_(keywords) {}

  // All that was passed: inputs, and what keywords give.
  std::vector<PyObject*> arguments() const {
    return {args_, args_ + num_inputs_ + (keywords_ == nullptr ? 0 : PyTuple_GET_SIZE(keywords_))};
  }

  int num_inputs() const { return static_cast<int>(num_inputs_); }

  // An input, or -1 dimensions meaning any number.
  template <typename T>
  Array<const T> input(int index, int ndim = -1) {
    PyObject* object = argument(index);
    if (!has_type(object, &Element<T>::is)) wrong_type(index, Element<T>::tag);
    return view<const T>(object, ndim, false);
  }

  // `out`, or its element `index` where `out` is a tuple or list.
  template <typename T>
  Array<T> output(int index = 0, int ndim = -1) {
    PyObject* object = output_object(index);
    if (!has_type(object, &Element<T>::is)) wrong_type(-1 - index, Element<T>::tag);
    return view<T>(object, ndim, true);
  }

  bool input_is(int index, bool (*test)(int)) { return has_type(argument(index), test); }
  Scalar scalar_input(int index);  // a 0-d f32 or f64 array

  PyObject* attribute(const char* name);
  std::int64_t integer(const char* name);
  double number(const char* name);
  bool flag(const char* name);
  const char* text(const char* name);
  std::vector<double> numbers(const char* name, Py_ssize_t count);
  template <std::size_t N>
  std::array<std::int64_t, N> integers(const char* name) {
    std::array<std::int64_t, N> values;
    read_integers(name, values.data(), static_cast<Py_ssize_t>(N));
    return values;
  }

  std::vector<std::int64_t> integer_list(const char* name);  // a tuple of any length

  // The next `count` elements of the keyword `workspace`, whose bytes the kernel's row in kernels/cpu_rows.py says. Pieces
  // begin at multiples of kWorkspaceAlignment, as those that kernels/workspace.py cuts; none is read for no elements.
  template <typename T>
  T* workspace(std::int64_t count) {
    return static_cast<T*>(scratch(count * static_cast<std::int64_t>(sizeof(T))));
  }

  // What is left of the keyword `workspace`, as `count` elements for each part of the call: for one part at least, and as
  // many as there is room for.
  template <typename T>
  Workspaces<T> workspaces(std::int64_t count) {
    constexpr std::int64_t itemsize = sizeof(T);
    const std::int64_t nbytes = aligned(count * itemsize);
    const std::int64_t used = workspace_used_;
    T* first = workspace<T>(count);
    return {first, nbytes / itemsize, nbytes > 0 ? (workspace_size_ - used) / nbytes : 1};
  }

  // Throws unless `holds`: what was expected, in words.
  void expect(bool holds, const char* what) {
    if (!holds) fail(PyExc_ValueError, what);
  }
  [[noreturn]] void fail(PyObject* type, const std::string& what);

 private:
  PyObject* find(const char* name);  // what a keyword gives, or null
  PyObject* argument(int index);
  PyObject* output_object(int index);
  bool has_type(PyObject* object, bool (*test)(int));
  void read_integers(const char* name, std::int64_t* values, Py_ssize_t count);
  void read_items(PyObject* tuple, const char* name, std::int64_t* values, Py_ssize_t count);
  void* scratch(std::int64_t nbytes);
  static std::int64_t aligned(std::int64_t nbytes) {
    return (nbytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
  }
  [[noreturn]] void wrong_type(int index, const char* wanted);
  // The array behind an object known to be one, its layout checked.
  Array<void> untyped_view(PyObject* object, int ndim, bool written);

  template <typename T>
  Array<T> view(PyObject* object, int ndim, bool written) {
    const Array<void> raw = untyped_view(object, ndim, written);
    return {static_cast<T*>(raw.data), raw.shape, raw.ndim, raw.size};
  }

  const char* kernel_;
  PyObject* const* args_;
  Py_ssize_t num_inputs_;
  PyObject* keywords_;
  // Callers pass attributes in one order, so the next name is usually where the last one ended.
  Py_ssize_t next_keyword_ = 0;
  PyObject* out_ = nullptr;
  std::int64_t workspace_used_ = 0, workspace_size_ = 0;
};

}  // namespace dtrain
