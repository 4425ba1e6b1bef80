// The table of all compiled kernels: a row for each kernel that a kernels.inc stands for.
//
// A reader `bind_op(call, kernel)` checks a call's arguments and returns a closure over pointers and shapes that runs the
// kernel. Python enters twice: by `kernel(*inputs, out=…, **attrs)`, which reads and runs, and by `bind` of the same
// arguments, which reads once and gives a function without arguments, for a run that makes the call again and again. A
// reader that looks at elements (indices in range, say) runs the kernel itself and returns nothing: it has no `bind`.
#pragma once

#include <deque>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding/bound_call.h"
#include "binding/call.h"

namespace dtrain {

struct Row {
  const char* op;
  const char* algorithm;  // empty where a list has one way to compute the op
  const char* name;
  const char* isa;
  const char* dtype;
  const void* kernel;  // a function pointer of the family's contract type
  PyMethodDef method;  // how Python enters; must outlive the module, hence the deque
  PyMethodDef bind;    // without a function where the reader runs the kernel itself
};

using Table = std::deque<Row>;

inline const Row& row_of(PyObject* self) { return *static_cast<const Row*>(PyCapsule_GetPointer(self, nullptr)); }

template <typename Function>
Function* kernel_of(PyObject* self) {
  return reinterpret_cast<Function*>(const_cast<void*>(row_of(self).kernel));
}

// Calls `run`, which returns a new reference, and turns what it throws into Python's exceptions.
template <typename Run>
PyObject* guarded(Run run) {
  try {
    return run();
  } catch (const ArgumentError& error) {
    PyErr_SetString(error.type, error.what());
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

inline PyObject* none() {
  Py_INCREF(Py_None);
  return Py_None;
}

template <typename Function, typename Closure, Closure (*bind)(Call&, Function*)>
PyObject* enter(PyObject* self, PyObject* const* args, Py_ssize_t num_inputs, PyObject* keywords) {
  return guarded([=] {
    Call call(row_of(self).name, args, num_inputs, keywords);
    if constexpr (std::is_void_v<Closure>) bind(call, kernel_of<Function>(self));
    else bind(call, kernel_of<Function>(self))();
    return none();
  });
}

// The function without arguments that `bind` gives; it keeps the arrays, whose memory its closure points to.
PyObject* bound_call(std::unique_ptr<BoundCall> call);

template <typename Function, typename Closure, Closure (*bind)(Call&, Function*)>
PyObject* enter_bind(PyObject* self, PyObject* const* args, Py_ssize_t num_inputs, PyObject* keywords) {
  return guarded([=] {
    Call call(row_of(self).name, args, num_inputs, keywords);
    return bound_call(std::make_unique<BoundClosure<Closure>>(call, bind(call, kernel_of<Function>(self))));
  });
}

inline PyMethodDef method_of(const char* name, PyObject* (*entry)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
  auto* function = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(entry));
  return PyMethodDef{name, function, METH_FASTCALL | METH_KEYWORDS, nullptr};
}

template <typename T, typename Function, typename Closure, Closure (*bind)(Call&, Function*)>
void add_row(Table& table, const char* op, const char* algorithm, const char* name, const char* isa,
             Function* kernel) {
  PyMethodDef bound{};
  if constexpr (!std::is_void_v<Closure>) bound = method_of(name, &enter_bind<Function, Closure, bind>);
  table.push_back({op, algorithm, name, isa, Element<T>::tag, reinterpret_cast<const void*>(kernel),
                   method_of(name, &enter<Function, Closure, bind>), bound});
}

}  // namespace dtrain
