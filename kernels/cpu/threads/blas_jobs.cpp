#include "threads/blas_jobs.h"

#include <atomic>

#include "threads/pool.h"

namespace dtrain {
namespace {

std::atomic<int> blas_numbers{0};

}  // namespace

void set_blas_numbers(int count) { blas_numbers = count; }

void run_blas_jobs(int, void (*run_job)(int thread, void* job, int given), int count, std::size_t size, void* jobs,
                   int given) {
  const int first = blas_numbers - count;
  const auto run = [=](std::int64_t i) {
    run_job(first + static_cast<int>(i), static_cast<char*>(jobs) + static_cast<std::size_t>(i) * size, given);
  };
  run_parts_at_once(
      count, [](const void* work, std::int64_t i) { (*static_cast<const decltype(run)*>(work))(i); }, &run);
}

}  // namespace dtrain
