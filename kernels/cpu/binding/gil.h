// While a kernel runs, others of Python's threads may.
#pragma once

#include <Python.h>

#include <cstdint>

namespace dtrain {

// Releases the GIL where the work is worth more than the two lock operations.
class ReleaseGil {
 public:
  explicit ReleaseGil(std::int64_t bytes) : state_(bytes > 32768 ? PyEval_SaveThread() : nullptr) {}
  ~ReleaseGil() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace dtrain
