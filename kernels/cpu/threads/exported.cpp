// What dtrain/base/cores.py finds by name in the loaded module, as it finds the like in other libraries.
#include <cstddef>

#include "threads/pool.h"

#define DTRAIN_EXPORTED extern "C" __attribute__((visibility("default")))

using BlasJob = void (*)(int thread, void* job, int given);

// Numbers that OpenBLAS gives its threads. Those of its own, which compute what it hands to nobody else (factorizations),
// begin at 0; ours are the last ones, so that a factorization may run beside a product.
static int blas_numbers = 0;

DTRAIN_EXPORTED void dtrain_set_blas_numbers(int count) { blas_numbers = count; }

DTRAIN_EXPORTED void dtrain_set_num_threads(int count) { dtrain::set_num_threads(count); }

// What openblas_set_threads_callback_function takes. Jobs of a matrix product wait for each other's pieces, and those of
// two calls would write into the same buffers.
DTRAIN_EXPORTED void dtrain_run_blas_jobs(int, BlasJob run_job, int count, std::size_t size, void* jobs, int given) {
  const auto run = [=](std::int64_t i) {
    run_job(blas_numbers - count + static_cast<int>(i), static_cast<char*>(jobs) + static_cast<std::size_t>(i) * size, given);
  };
  dtrain::run_parts_at_once(
      count, [](const void* work, std::int64_t i) { (*static_cast<const decltype(run)*>(work))(i); }, &run);
}
