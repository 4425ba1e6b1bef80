// Threads that compute parts of a call. Kernels know none of this: a binding runs them on parts (share.h).
//
// The pool starts its threads at the first call that is worth it, keeps them asleep between calls, and is made anew in a
// process that was forked. Two of Python's threads that compute at once do not wait for each other: the second one runs
// its parts itself. NumPy's BLAS computes on the same threads (blas_jobs.h): two pools would take each other's cores.
#pragma once

#include <cstdint>

namespace dtrain {

// How many threads a call may take, the one that makes it included.
int num_threads();
void set_num_threads(int count);

// How many of the pool's threads look for work, so that they take a part within a microsecond. To wake one takes some tens
// of them.
int threads_awake();

using RunPart = void (*)(const void* work, std::int64_t part);

// Runs parts 0 … count − 1 of `work`, each once and in any order; returns when all have run. What a part writes is seen
// by the caller. `run` must not throw. At most kMostParts. Threads that sleep are woken where `wakes`.
void run_parts(std::int64_t count, RunPart run, const void* work, bool wakes);

constexpr std::int64_t kMostParts = 1024;

// The same for parts that wait for each other: each runs on a thread of its own, and a second call waits for the first.
// Ends the process where so many threads cannot be started.
void run_parts_at_once(std::int64_t count, RunPart run, const void* work);

// Gets ready for forks; once, before other threads may fork.
void make_pool();

// How many parts ran on threads of the pool since the process began: how a test knows that work was shared.
std::int64_t parts_run_by_pool();

}  // namespace dtrain
