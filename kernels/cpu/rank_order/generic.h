// Rank-order reduction for every element type; the compiler makes vectors of the plain loops over a block.
#pragma once

#include <cstring>
#include <type_traits>

#include "rank_order/rank_order.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace dtrain {
namespace {

// The type a chain of operations runs in. Integers run unsigned, where overflow is defined to wrap.
template <typename T, typename = void>
struct Accumulator {
  using type = T;
};
template <typename T>
struct Accumulator<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  using type = std::make_unsigned_t<T>;
};
template <>
struct Accumulator<Float16> {
  using type = float;
};
template <>
struct Accumulator<BFloat16> {
  using type = float;
};

inline float from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline std::uint32_t to_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

template <typename A, typename T>
inline A widened(T value) {
  return static_cast<A>(value);
}
template <>
inline float widened<float, BFloat16>(BFloat16 value) {
  return from_bits(static_cast<std::uint32_t>(value.bits) << 16);
}
template <>
inline float widened<float, Float16>(Float16 value) {
#ifdef __F16C__
  return _cvtsh_ss(value.bits);
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return from_bits(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  // Moving the exponent by a multiplication gives subnormals their true value too: 2^112 is the bias difference.
  return from_bits(sign | to_bits(from_bits(magnitude << 13) * 0x1p112f));
#endif
}

template <typename T, typename A>
inline T rounded(A value) {
  return static_cast<T>(value);
}
template <>
inline BFloat16 rounded<BFloat16, float>(float value) {
  const std::uint32_t bits = to_bits(value);
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40u;
  const std::uint32_t nearest_even = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : nearest_even)};
}
template <>
inline Float16 rounded<Float16, float>(float value) {
#ifdef __F16C__
  return {static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT))};
#else
  const std::uint32_t bits = to_bits(value);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  if (magnitude >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // rounds beyond 65504
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 1/2 puts the unit of f16 subnormals, 2^-24, in the last bit of the sum, which rounds to even.
    const std::uint32_t shifted = to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000u;
    return {static_cast<std::uint16_t>(sign | shifted)};
  }
  const std::uint32_t nearest_even = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | (nearest_even >> 13))};
#endif
}

// Min and max compare signed integers, although they are carried unsigned; NaN wins, as in NumPy.
template <typename T, typename A>
inline bool first_wins_min(A a, A b) {
  if constexpr (std::is_floating_point_v<A>) return a <= b || a != a;
  else return static_cast<T>(a) <= static_cast<T>(b);
}
template <typename T, typename A>
inline bool first_wins_max(A a, A b) {
  if constexpr (std::is_floating_point_v<A>) return a >= b || a != a;
  else return static_cast<T>(a) >= static_cast<T>(b);
}

template <typename T, Reduction reduction, typename A>
inline A combined(A a, A b) {
  if constexpr (std::is_same_v<A, bool>) {
    if constexpr (reduction == Reduction::sum || reduction == Reduction::max) return a | b;
    else return a & b;
  } else if constexpr (reduction == Reduction::min) {
    return first_wins_min<T>(a, b) ? a : b;
  } else if constexpr (reduction == Reduction::max) {
    return first_wins_max<T>(a, b) ? a : b;
  } else if constexpr (reduction == Reduction::prod) {
    // u8 and u16 promote to int, whose overflow is undefined: multiply as unsigned.
    if constexpr (std::is_integral_v<A>) return static_cast<A>(a * static_cast<std::common_type_t<A, unsigned>>(b));
    else return a * b;
  } else {
    return static_cast<A>(a + b);
  }
}

constexpr std::int64_t kBlock = 1024;  // an accumulator of at most 8 KiB stays in the first-level cache

// Without arrays (all weights were zero) the result is zero.
template <typename T>
void sum_weighted(const T* const* arrays, int num_arrays, const double* weights, T* out, std::int64_t n) {
  using A = typename Accumulator<T>::type;
  A total[kBlock];
  for (std::int64_t start = 0; start < n; start += kBlock) {
    const std::int64_t size = n - start < kBlock ? n - start : kBlock;
    for (std::int64_t i = 0; i < size; ++i) total[i] = A(0);
    for (int rank = 0; rank < num_arrays; ++rank) {
      const A weight = static_cast<A>(weights[rank]);
      const T* from = arrays[rank] + start;
      if (rank == 0) {
        for (std::int64_t i = 0; i < size; ++i) total[i] = weight * widened<A>(from[i]);
      } else {
        for (std::int64_t i = 0; i < size; ++i) total[i] += weight * widened<A>(from[i]);
      }
    }
    for (std::int64_t i = 0; i < size; ++i) out[start + i] = rounded<T>(total[i]);
  }
}

// Where a sum has left the range of numbers its mean has not: the elements are divided before they are added.
template <typename T, typename A>
void mean_of_large(const T* const* arrays, int num_arrays, std::int64_t start, std::int64_t size, A* total) {
  const A count = static_cast<A>(num_arrays);
  for (std::int64_t i = 0; i < size; ++i) {
    if (total[i] * A(0) == A(0)) continue;
    total[i] = widened<A>(arrays[0][start + i]) / count;
    for (int rank = 1; rank < num_arrays; ++rank) total[i] += widened<A>(arrays[rank][start + i]) / count;
  }
}

template <typename T, Reduction reduction>
void reduce_blocks(const T* const* arrays, int num_arrays, T* out, std::int64_t n) {
  using A = typename Accumulator<T>::type;
  A total[kBlock];
  for (std::int64_t start = 0; start < n; start += kBlock) {
    const std::int64_t size = n - start < kBlock ? n - start : kBlock;
    for (std::int64_t i = 0; i < size; ++i) total[i] = widened<A>(arrays[0][start + i]);
    for (int rank = 1; rank < num_arrays; ++rank) {
      const T* from = arrays[rank] + start;
      for (std::int64_t i = 0; i < size; ++i) total[i] = combined<T, reduction>(total[i], widened<A>(from[i]));
    }
    // Written after the last read of the block, so that `out` may be any of the arrays.
    if constexpr (reduction == Reduction::mean) {
      const A count = static_cast<A>(num_arrays);
      // As wide as an element, so that the loop becomes one of vectors.
      std::conditional_t<sizeof(A) == 8, std::uint64_t, std::uint32_t> beyond = 0;
      for (std::int64_t i = 0; i < size; ++i) beyond |= total[i] * A(0) != A(0);
      for (std::int64_t i = 0; i < size; ++i) total[i] /= count;
      if (beyond) mean_of_large<T>(arrays, num_arrays, start, size, total);
    }
    for (std::int64_t i = 0; i < size; ++i) out[start + i] = rounded<T>(total[i]);
  }
}

template <typename T>
void rank_order_reduce(const T* const* arrays, int num_arrays, const double* weights, T* out, std::int64_t n,
                       Reduction reduction) {
  switch (reduction) {
    case Reduction::sum: return reduce_blocks<T, Reduction::sum>(arrays, num_arrays, out, n);
    case Reduction::prod: return reduce_blocks<T, Reduction::prod>(arrays, num_arrays, out, n);
    case Reduction::min: return reduce_blocks<T, Reduction::min>(arrays, num_arrays, out, n);
    case Reduction::max: return reduce_blocks<T, Reduction::max>(arrays, num_arrays, out, n);
    case Reduction::mean:
      if constexpr (std::is_floating_point_v<typename Accumulator<T>::type>) {
        return reduce_blocks<T, Reduction::mean>(arrays, num_arrays, out, n);
      }
      break;
    case Reduction::weighted:
      if constexpr (std::is_floating_point_v<typename Accumulator<T>::type>) {
        return sum_weighted<T>(arrays, num_arrays, weights, out, n);
      }
  }
}

}  // namespace
}  // namespace dtrain
