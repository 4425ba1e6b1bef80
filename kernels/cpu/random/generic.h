// The random kernels over a vector type. A lane of 64 bits holds a word of one block: a product of two words fits, and
// its halves need not be put together again.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "random/random.h"

namespace dtrain {
namespace {

// Words of as many blocks as a vector has lanes, each in the low half of its lane; the high half is of no account.
template <typename Integers>
struct Blocks {
  Integers c0, c1, c2, c3;
};

template <typename Integers>
class Philox {
 public:
  explicit Philox(std::uint64_t key) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < kRounds; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      keys_[round][0] = Integers(k0);
      keys_[round][1] = Integers(k1);
    }
  }

  __attribute__((always_inline)) Blocks<Integers> operator()(Integers counter) const {
    const Integers zero(0);
    Blocks<Integers> block{counter, counter >> 32, zero, zero};
#pragma GCC unroll 10
    for (int round = 0; round < kRounds; ++round) {
      const Integers first = product_of_low_words(block.c0, Integers(0xD2511F53u));
      const Integers second = product_of_low_words(block.c2, Integers(0xCD9E8D57u));
      const Integers c0 = (second >> 32) ^ (block.c1 ^ keys_[round][0]);
      const Integers c2 = (first >> 32) ^ (block.c3 ^ keys_[round][1]);
      block = {c0, second, c2, first};
    }
    return block;
  }

 private:
  static constexpr int kRounds = 10;
  Integers keys_[kRounds][2];
};

// Calls use(first index, count, blocks) for as many blocks as n numbers need, a vector of them each time.
template <typename V, int numbers_a_block, typename Use>
__attribute__((always_inline)) inline void for_each_blocks(RandomStream stream, std::int64_t n, Use use) {
  using Integers = typename V::Integers;
  constexpr int together = Integers::width * numbers_a_block;
  const Philox<Integers> philox(stream.key);
  const Integers step(Integers::width);
  Integers counter = Integers::count_from(stream.offset);
  std::int64_t i = 0;
  for (; i + together <= n; i += together, counter = counter + step) use(i, together, philox(counter));
  if (i < n) use(i, static_cast<int>(n - i), philox(counter));
}

// The same with put(blocks, to), which writes all numbers of the blocks.
template <typename V, int numbers_a_block, typename Put>
inline void fill(RandomStream stream, typename V::Element* out, std::int64_t n, Put put) {
  for_each_blocks<V, numbers_a_block>(stream, n, [=](std::int64_t first, int count, const auto& blocks) {
    constexpr int together = V::Integers::width * numbers_a_block;
    if (count == together) {
      put(blocks, out + first);
    } else {
      typename V::Element all[together];
      put(blocks, all);
      std::copy_n(all, count, out + first);
    }
  });
}

// The words of the blocks as they follow each other in the stream, into two vectors.
template <typename Integers>
inline void in_order(const Blocks<Integers>& blocks, Integers* words) {
  in_turn(join_low_words(blocks.c0, blocks.c1), join_low_words(blocks.c2, blocks.c3), words);
}

// The same as numbers of 64 bits, of which the first word is the upper one.
template <typename Integers>
inline void wide_in_order(const Blocks<Integers>& blocks, Integers* wide) {
  in_turn(join_low_words(blocks.c1, blocks.c0), join_low_words(blocks.c3, blocks.c2), wide);
}

template <typename V>
void uniform(RandomStream stream, double low, double high, typename V::Element* out, std::int64_t n) {
  using T = typename V::Element;
  using Integers = typename V::Integers;
  using Doubles = typename Integers::Doubles;
  const Doubles start(low), range(high - low);
  fill<V, per_block<T>>(stream, out, n, [=](const Blocks<Integers>& blocks, T* to) {
    Integers numbers[2];
    if constexpr (std::is_same_v<T, double>) {
      wide_in_order(blocks, numbers);
      for (int i = 0; i < 2; ++i) {
        const Doubles unit = to_double(numbers[i] >> 11) * Doubles(0x1p-53);
        (start + unit * range).store(to + i * Integers::width);
      }
    } else {
      in_order(blocks, numbers);
      for (int i = 0; i < 2; ++i) {
        Doubles units[2];
        // The upper 24 bits of each word: the shift brings bits of the high word into the low one.
        words_to_double(numbers[i] >> 8 & Integers(0x00FFFFFF00FFFFFFu), units);
        for (int half = 0; half < 2; ++half) {
          (start + units[half] * Doubles(0x1p-24) * range).store_rounded(to + (2 * i + half) * Integers::width);
        }
      }
    }
  });
}

// The library's functions take most of the time, so only the cipher is computed in vectors.
template <typename V>
void normal(RandomStream stream, double mean, double std, typename V::Element* out, std::int64_t n) {
  using T = typename V::Element;
  using Integers = typename V::Integers;
  constexpr double turn = 6.283185307179586;
  constexpr bool is_wide = std::is_same_v<T, double>;
  for_each_blocks<V, per_block<T>>(stream, n, [=](std::int64_t first, int count, const Blocks<Integers>& blocks) {
    Integers numbers[2];
    std::uint32_t words[4 * Integers::width];
    in_order(blocks, numbers);
    for (int i = 0; i < 2; ++i) numbers[i].store(words + i * 2 * Integers::width);
    const auto unit = [&](int i) {
      if constexpr (!is_wide) return words[i] * 0x1p-32;
      const std::uint64_t wide = std::uint64_t{words[2 * i]} << 32 | words[2 * i + 1];
      return static_cast<double>(wide >> 11) * 0x1p-53;
    };
    for (int i = 0; i < count; i += 2) {
      const double u = unit(i), v = unit(i + 1);
      // 1 − u lies in (0, 1], where the logarithm is finite.
      const double radius = std::sqrt(-2 * std::log1p(-u));
      out[first + i] = static_cast<T>(mean + std * (radius * std::cos(turn * v)));
      if (i + 1 < count) out[first + i + 1] = static_cast<T>(mean + std * (radius * std::sin(turn * v)));
    }
  });
}

// 32 random bits decide whatever the type, so every dtype drops the same elements.
template <typename V>
void dropout_mask(RandomStream stream, double p, typename V::Element* out, std::int64_t n) {
  using T = typename V::Element;
  using Integers = typename V::Integers;
  const auto threshold = static_cast<std::uint64_t>(std::nearbyint(p * 4294967296.0));
  // 2³² is more than any word, and than a word can say: all are dropped by writing zeros only.
  const bool is_any_kept = threshold >> 32 == 0;
  const V kept(is_any_kept ? static_cast<T>(1 / (1 - p)) : T{0});
  const auto least = static_cast<std::uint32_t>(threshold);
  fill<V, per_block<float>>(stream, out, n, [=](const Blocks<Integers>& blocks, T* to) {
    Integers words[2];
    in_order(blocks, words);
    for (int i = 0; i < 2; ++i) store_where_at_least(words[i], least, kept, to + i * 2 * Integers::width);
  });
}

}  // namespace
}  // namespace dtrain
