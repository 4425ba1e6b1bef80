// Vec<T> of one lane: the plain version of every kernel, and the contract of the wider ones.
//
// Vec<T> offers width, zero(), load/store, load_partial/store_partial of the first `count` < width lanes (missing lanes
// read as `fill`), first(count), which zeroes the others, transpose(rows) of width
// rows in place, + - * /, fma(a, b, c) = a·b + c, max, min, sqrt,
// select_positive(x, a, b) = x > 0 ? a : b, exp_non_positive, and sum(), maximum() and any_nan() over lanes. max(a, b) and
// min(a, b) give b where either is NaN. deal_out(a, b) moves what lies at even places of the two into a, the rest into b.
//
// V::Places are s32 beside the lanes, with + - * < and ?: of vectors: lane_numbers(), store_places of the first `count` <
// width, and take_larger(value, place, best, places), which takes a value that is larger, of no NaN, and its place.
//
// V::Integers has lanes of 64 bits without sign, as many as its Doubles, Vec<double>, and in each two words of 32 bits,
// the low one first. It offers count_from(first) = first, first + 1, …, + ^ & >>, product_of_low_words(a, b), whole
// lanes again, join_low_words(low, high), in_turn(a, b, out), which puts the lanes a₀ b₀ a₁ b₁ … into out[0] and out[1],
// store, to_double of lanes below 2⁵³, words_to_double of words below 2³¹, in order into out[0] and out[1], and
// store_where_at_least(words, least, value, to): for each word `value` if it is at least `least`, else 0.
#pragma once

#include <cmath>
#include <cstdint>

#define DTRAIN_INLINE static inline __attribute__((always_inline))

namespace dtrain::scalar {

template <typename T>
struct Vec {
  using Element = T;
  using Integers = Vec<std::uint64_t>;
  static constexpr int width = 1;
  using Places = std::int32_t;
  T lanes;

  Vec() = default;
  explicit Vec(T value) : lanes(value) {}
  DTRAIN_INLINE Vec zero() { return Vec(T(0)); }
  DTRAIN_INLINE Vec load(const T* from) { return Vec(*from); }
  DTRAIN_INLINE Vec load_partial(const T*, int, T fill = T(0)) { return Vec(fill); }
  void store(T* to) const { *to = lanes; }
  void store_partial(T*, int) const {}
  void store_rounded(float* to) const { *to = static_cast<float>(lanes); }
  Vec first(int) const { return zero(); }
  DTRAIN_INLINE void transpose(Vec*) {}
  T sum() const { return lanes; }
  T maximum() const { return lanes; }

  friend Vec operator+(Vec a, Vec b) { return Vec(a.lanes + b.lanes); }
  friend Vec operator-(Vec a, Vec b) { return Vec(a.lanes - b.lanes); }
  friend Vec operator*(Vec a, Vec b) { return Vec(a.lanes * b.lanes); }
  friend Vec operator/(Vec a, Vec b) { return Vec(a.lanes / b.lanes); }
  // Two roundings: without the instruction, a true fma() would be a library call.
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(a.lanes * b.lanes + c.lanes); }
  friend Vec max(Vec a, Vec b) { return Vec(a.lanes > b.lanes ? a.lanes : b.lanes); }
  friend Vec min(Vec a, Vec b) { return Vec(a.lanes < b.lanes ? a.lanes : b.lanes); }
  friend Vec sqrt(Vec a) { return Vec(std::sqrt(a.lanes)); }
  friend Vec select_positive(Vec x, Vec a, Vec b) { return Vec(x.lanes > T(0) ? a.lanes : b.lanes); }
  friend Vec exp_non_positive(Vec a) { return Vec(std::exp(a.lanes)); }
  DTRAIN_INLINE void deal_out(Vec&, Vec&) {}
  DTRAIN_INLINE Places lane_numbers() { return 0; }
  DTRAIN_INLINE void store_places(Places, std::int32_t*, int) {}
  bool any_nan() const { return lanes != lanes; }
  friend void take_larger(Vec value, std::int32_t place, Vec& best, Places& places) {
    places = value.lanes > best.lanes ? place : places;
    best.lanes = value.lanes > best.lanes ? value.lanes : best.lanes;
  }
};

template <>
struct Vec<std::uint64_t> {
  using Doubles = Vec<double>;
  static constexpr int width = 1;
  std::uint64_t lanes;

  Vec() = default;
  explicit Vec(std::uint64_t value) : lanes(value) {}
  DTRAIN_INLINE Vec count_from(std::uint64_t first) { return Vec(first); }
  void store(std::uint32_t* to) const {
    to[0] = static_cast<std::uint32_t>(lanes);
    to[1] = static_cast<std::uint32_t>(lanes >> 32);
  }

  friend Vec operator+(Vec a, Vec b) { return Vec(a.lanes + b.lanes); }
  friend Vec operator^(Vec a, Vec b) { return Vec(a.lanes ^ b.lanes); }
  friend Vec operator&(Vec a, Vec b) { return Vec(a.lanes & b.lanes); }
  friend Vec operator>>(Vec a, int bits) { return Vec(a.lanes >> bits); }
  friend Vec product_of_low_words(Vec a, Vec b) { return Vec((a.lanes & 0xFFFFFFFFu) * (b.lanes & 0xFFFFFFFFu)); }
  friend Vec join_low_words(Vec low, Vec high) { return Vec((low.lanes & 0xFFFFFFFFu) | high.lanes << 32); }
  friend void in_turn(Vec a, Vec b, Vec* out) {
    out[0] = a;
    out[1] = b;
  }
  friend Vec<double> to_double(Vec a) { return Vec<double>(static_cast<double>(a.lanes)); }
  friend void words_to_double(Vec words, Vec<double>* out) {
    out[0] = Vec<double>(static_cast<double>(static_cast<std::uint32_t>(words.lanes)));
    out[1] = Vec<double>(static_cast<double>(words.lanes >> 32));
  }
  // A load instead of a branch, which random words would have mispredicted.
  template <typename T>
  friend void store_where_at_least(Vec words, std::uint32_t least, Vec<T> value, T* to) {
    const T choices[2] = {T(0), value.lanes};
    to[0] = choices[static_cast<std::uint32_t>(words.lanes) >= least];
    to[1] = choices[static_cast<std::uint32_t>(words.lanes >> 32) >= least];
  }
};

}  // namespace dtrain::scalar
