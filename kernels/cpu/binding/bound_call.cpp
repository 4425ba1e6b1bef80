#include "binding/bound_call.h"

#include "binding/table.h"

namespace dtrain {

BoundCall::BoundCall(const Call& call) : kept_(call.arguments()) {
  for (PyObject* argument : kept_) Py_INCREF(argument);
}

BoundCall::~BoundCall() {
  for (PyObject* argument : kept_) Py_DECREF(argument);
}

namespace {

const char* const kCapsule = "dtrain.BoundCall";

void forget(PyObject* capsule) { delete static_cast<BoundCall*>(PyCapsule_GetPointer(capsule, kCapsule)); }

PyObject* run(PyObject* capsule, PyObject*) {
  return guarded([=] {
    static_cast<BoundCall*>(PyCapsule_GetPointer(capsule, kCapsule))->run();
    return none();
  });
}

PyMethodDef method{"bound_call", run, METH_NOARGS, "Run the kernel on the arrays that it was bound to."};

}  // namespace

PyObject* bound_call(std::unique_ptr<BoundCall> call) {
  PyObject* capsule = PyCapsule_New(call.get(), kCapsule, forget);
  if (capsule == nullptr) return nullptr;
  call.release();
  PyObject* function = PyCFunction_NewEx(&method, capsule, nullptr);
  Py_DECREF(capsule);
  return function;
}

}  // namespace dtrain
