// Jobs of OpenBLAS on the threads of our kernels.
#pragma once

#include <cstddef>

namespace dtrain {

// What openblas_set_threads_callback_function takes: runs all jobs, `size` bytes each, and returns. Jobs of a matrix
// product wait for each other's pieces, and those of two calls would write into the same buffers.
void run_blas_jobs(int, void (*run_job)(int thread, void* job, int given), int count, std::size_t size, void* jobs,
                   int given);

// How many numbers OpenBLAS has for threads. Those of its own, which compute what it hands to nobody (factorizations),
// begin at 0; ours are the last ones, so that a factorization may run beside a product.
void set_blas_numbers(int count);

}  // namespace dtrain
