// Random numbers from a counter, Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011).
//
// Block `offset + i` enciphered with `key` gives the words 4i … 4i+3, each a number, or two a number of 64 bits. A draw
// uses up whole blocks.
#pragma once

#include <cstdint>
#include <type_traits>

namespace dtrain {

struct RandomStream {
  std::uint64_t key;
  std::uint64_t offset;  // in blocks of four words
};

// Numbers of type T that one block gives: f64 takes two words each.
template <typename T>
constexpr int per_block = std::is_same_v<T, double> ? 2 : 4;

// out[i] = low + u · (high − low), u uniform in [0, 1) with the bits of T's significand
template <typename T>
using uniform_fn = void(RandomStream stream, double low, double high, T* out, std::int64_t n);

// out[i] = mean + std · z, two z from two uniform numbers (Box, Muller 1958), computed in f64
template <typename T>
using normal_fn = void(RandomStream stream, double mean, double std, T* out, std::int64_t n);

// out[i] = 0 with probability p, else 1 / (1 − p)
template <typename T>
using dropout_mask_fn = void(RandomStream stream, double p, T* out, std::int64_t n);

}  // namespace dtrain
