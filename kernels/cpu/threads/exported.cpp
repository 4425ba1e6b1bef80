// What dtrain/base/cores.py finds by name in the loaded module, as it finds the like in other libraries.
#include <cstddef>

#include "threads/pool.h"

#define DTRAIN_EXPORTED extern "C" __attribute__((visibility("default")))

using BlasJob = void (*)(int thread, void* data, int buffers);

DTRAIN_EXPORTED void dtrain_set_num_threads(int count) { dtrain::set_num_threads(count); }

// What openblas_set_threads_callback_function takes. Jobs of a matrix product wait for each other's pieces, and those of
// two calls would write into the same buffers.
DTRAIN_EXPORTED void dtrain_run_blas_jobs(int, BlasJob job, int count, std::size_t size, void* data, int buffers) {
  const auto run = [=](std::int64_t i) {
    job(static_cast<int>(i), static_cast<char*>(data) + static_cast<std::size_t>(i) * size, buffers);
  };
  dtrain::run_parts_at_once(
      count, [](const void* work, std::int64_t i) { (*static_cast<const decltype(run)*>(work))(i); }, &run);
}
