// The table of all compiled kernels: a row for each kernel that a kernels.inc stands for.
#pragma once

#include <deque>
#include <new>

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
};

using Table = std::deque<Row>;

template <typename Function>
Function* kernel_of(PyObject* self) {
  const void* pointer = static_cast<const Row*>(PyCapsule_GetPointer(self, nullptr))->kernel;
  return reinterpret_cast<Function*>(const_cast<void*>(pointer));
}

// The Python entry of a kernel: `bind(call, kernel)` reads the arguments and runs it.
template <typename Function, void (*bind)(Call&, Function*)>
PyObject* enter(PyObject* self, PyObject* const* args, Py_ssize_t num_inputs, PyObject* keywords) {
  try {
    Call call(static_cast<const Row*>(PyCapsule_GetPointer(self, nullptr))->name, args, num_inputs, keywords);
    bind(call, kernel_of<Function>(self));
  } catch (const ArgumentError& error) {
    PyErr_SetString(error.type, error.what());
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

template <typename T, typename Function, void (*bind)(Call&, Function*)>
void add_row(Table& table, const char* op, const char* algorithm, const char* name, const char* isa,
             Function* kernel) {
  auto* entry = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&enter<Function, bind>));
  table.push_back({op, algorithm, name, isa, Element<T>::tag, reinterpret_cast<const void*>(kernel),
                   PyMethodDef{name, entry, METH_FASTCALL | METH_KEYWORDS, nullptr}});
}

}  // namespace dtrain
