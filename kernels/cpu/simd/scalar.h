// Vec<T> of one lane: the plain version of every kernel, and the contract of the wider ones.
//
// Vec<T> offers width, zero(), load/store, load_partial/store_partial of the first `count` < width lanes (missing lanes
// read as `fill`), first(count), which zeroes the others, transpose(rows) of width
// rows in place, + - * /, fma(a, b, c) = a·b + c, max, min, sqrt,
// select_positive(x, a, b) = x > 0 ? a : b, exp_non_positive, and sum(), maximum() and any_nan() over lanes. max(a, b) and
// min(a, b) give b where either is NaN. deal_out(a, b) moves what lies at even places of the two into a, the rest into b.
//
// Places are s32 beside the lanes, with + - * < and ?: of vectors: lane_numbers(), store_places of the first `count` <
// width, and take_larger(value, place, best, places), which takes a value that is larger, of no NaN, and its place.
#pragma once

#include <cmath>
#include <cstdint>

#define DTRAIN_INLINE static inline __attribute__((always_inline))

namespace dtrain::scalar {

template <typename T>
struct Vec {
  using Element = T;
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

}  // namespace dtrain::scalar
