// A call whose arguments are read: a closure over pointers and shapes, and the arrays that these point into.
#pragma once

#include <Python.h>

#include <utility>
#include <vector>

namespace dtrain {

class Call;

class BoundCall {
 public:
  explicit BoundCall(const Call& call);
  virtual ~BoundCall();
  BoundCall(const BoundCall&) = delete;
  BoundCall& operator=(const BoundCall&) = delete;
  virtual void run() = 0;

 private:
  std::vector<PyObject*> kept_;
};

template <typename Closure>
class BoundClosure final : public BoundCall {
 public:
  BoundClosure(const Call& call, Closure closure) : BoundCall(call), closure_(std::move(closure)) {}
  void run() override { closure_(); }

 private:
  Closure closure_;
};

}  // namespace dtrain
