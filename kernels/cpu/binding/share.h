// A call is computed in parts, which threads share. Each binding says what its call may be cut into, so that no result
// depends on the number of threads: rows, images, channels, never the terms of one sum, except in groups that its shape
// says.
#pragma once

#include <algorithm>
#include <cstdint>

#include "binding/gil.h"
#include "simd/range.h"
#include "threads/pool.h"

namespace dtrain {

// Bytes that a part moves, or takes as long as, so that handing it over is worth it; and that a call does, so that
// waking a thread is.
inline std::int64_t least_bytes_of_part = 1 << 16, least_bytes_to_wake = 1 << 22;

// Into how many parts to cut what falls into `units` and takes as long as moving `bytes`; `most` where room is short.
inline std::int64_t parts_of(std::int64_t units, std::int64_t bytes, std::int64_t most = kMostParts) {
  const std::int64_t threads = bytes < least_bytes_to_wake ? std::min(num_threads(), threads_awake() + 1) : num_threads();
  return std::max<std::int64_t>(1, std::min({threads, units, bytes / least_bytes_of_part, most}));
}

// work(number of the part) for each of `parts`, into which `parts_of` has cut what takes as long as moving `bytes`.
template <typename Work>
void run_shared(std::int64_t parts, std::int64_t bytes, const Work& work) {
  run_parts(parts, [](const void* given, std::int64_t part) { (*static_cast<const Work*>(given))(part); }, &work,
            bytes >= least_bytes_to_wake);
}

// work(units of the part, its number) for all parts of `units`.
template <typename Work>
void share(std::int64_t units, std::int64_t bytes, const Work& work, std::int64_t most = kMostParts) {
  const std::int64_t parts = parts_of(units, bytes, most);
  run_shared(parts, bytes, [&](std::int64_t part) {
    work(Range{units * part / parts, units * (part + 1) / parts}, part);
  });
}

// Elements that stay together: whole vectors, blocks of random numbers, and mostly lines of a cache.
constexpr std::int64_t kElementsTogether = 64;

// work(first element, how many) for all parts of an elementwise call.
template <typename Work>
void share_elements(std::int64_t count, std::int64_t bytes, const Work& work) {
  share((count + kElementsTogether - 1) / kElementsTogether, bytes, [&](Range pieces, std::int64_t) {
    const std::int64_t begin = pieces.begin * kElementsTogether, end = pieces.end * kElementsTogether;
    work(begin, std::min(end, count) - begin);
  });
}

}  // namespace dtrain
