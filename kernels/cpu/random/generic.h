// The random kernels over an element type. One block at a time: the cipher is what costs, and it has no memory to wait for.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "random/random.h"

namespace dtrain {
namespace {

using Block = std::array<std::uint32_t, 4>;

inline Block philox(std::uint64_t counter, std::uint64_t key) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter), c1 = static_cast<std::uint32_t>(counter >> 32), c2 = 0, c3 = 0;
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53u} * c0, second = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(second >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(second);
    c2 = static_cast<std::uint32_t>(first >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(first);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

inline std::uint64_t wide(const Block& block, int index) {
  return std::uint64_t{block[2 * index]} << 32 | block[2 * index + 1];
}

// Calls use(first index, count, block) for as many blocks as n numbers need.
template <typename T, typename Use>
void for_each_block(RandomStream stream, std::int64_t n, Use use) {
  std::int64_t blocks = 0;
  for (std::int64_t i = 0; i < n; i += per_block<T>, ++blocks) {
    use(i, static_cast<int>(std::min<std::int64_t>(per_block<T>, n - i)),
        philox(stream.offset + static_cast<std::uint64_t>(blocks), stream.key));
  }
}

template <typename T>
void uniform(RandomStream stream, double low, double high, T* out, std::int64_t n) {
  const double range = high - low;
  for_each_block<T>(stream, n, [=](std::int64_t first, int count, const Block& block) {
    for (int i = 0; i < count; ++i) {
      const double unit = std::is_same_v<T, double> ? static_cast<double>(wide(block, i & 1) >> 11) * 0x1p-53
                                                    : static_cast<double>(block[i] >> 8) * 0x1p-24;
      out[first + i] = static_cast<T>(low + unit * range);
    }
  });
}

template <typename T>
void normal(RandomStream stream, double mean, double std, T* out, std::int64_t n) {
  constexpr double turn = 6.283185307179586;
  const std::int64_t rounded = n + n % 2;  // pairs
  for_each_block<T>(stream, rounded, [=](std::int64_t first, int count, const Block& block) {
    for (int i = 0; i < count; i += 2) {
      const bool is_wide = std::is_same_v<T, double>;
      const double u = is_wide ? static_cast<double>(wide(block, 0) >> 11) * 0x1p-53 : block[i] * 0x1p-32;
      const double v = is_wide ? static_cast<double>(wide(block, 1) >> 11) * 0x1p-53 : block[i + 1] * 0x1p-32;
      // 1 − u lies in (0, 1], where the logarithm is finite.
      const double radius = std::sqrt(-2 * std::log1p(-u));
      out[first + i] = static_cast<T>(mean + std * (radius * std::cos(turn * v)));
      if (first + i + 1 < n) out[first + i + 1] = static_cast<T>(mean + std * (radius * std::sin(turn * v)));
    }
  });
}

// 32 random bits decide whatever the type, so every dtype drops the same elements.
template <typename T>
void dropout_mask(RandomStream stream, double p, T* out, std::int64_t n) {
  const auto threshold = static_cast<std::uint64_t>(std::nearbyint(p * 4294967296.0));
  const T kept = p < 1 ? static_cast<T>(1 / (1 - p)) : T{0};
  for_each_block<float>(stream, n, [=](std::int64_t first, int count, const Block& block) {
    for (int i = 0; i < count; ++i) out[first + i] = block[i] >= threshold ? kept : T{0};
  });
}

}  // namespace
}  // namespace dtrain
