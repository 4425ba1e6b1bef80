// Vec<float> of 16 lanes, Vec<double> and integers of 8: AVX-512 (F, BW, DQ, VL). Include only in what is compiled
// for it.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "simd/exponential.h"

#define DTRAIN_INLINE static inline __attribute__((always_inline))

namespace dtrain::avx512 {

// The transpose of four vectors in fourths of 128 bits: of[i] holds fourth i of each.
struct Fourths {
  __attribute__((always_inline)) Fourths(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 low = _mm512_shuffle_f32x4(a, b, 0x44), high = _mm512_shuffle_f32x4(a, b, 0xEE);
    const __m512 low_after = _mm512_shuffle_f32x4(c, d, 0x44), high_after = _mm512_shuffle_f32x4(c, d, 0xEE);
    of[0] = _mm512_shuffle_f32x4(low, low_after, 0x88);
    of[1] = _mm512_shuffle_f32x4(low, low_after, 0xDD);
    of[2] = _mm512_shuffle_f32x4(high, high_after, 0x88);
    of[3] = _mm512_shuffle_f32x4(high, high_after, 0xDD);
  }
  __m512 of[4];
};

template <typename T>
struct Vec;

template <>
struct Vec<float> {
  using Element = float;
  using Integers = Vec<std::uint64_t>;
  static constexpr int width = 16;
  __m512 lanes;
  typedef std::int32_t Places __attribute__((vector_size(64)));

  Vec() = default;
  explicit Vec(float value) : lanes(_mm512_set1_ps(value)) {}
  explicit Vec(__m512 raw) : lanes(raw) {}
  DTRAIN_INLINE __mmask16 mask(int count) { return static_cast<__mmask16>((1u << count) - 1u); }
  DTRAIN_INLINE Vec zero() { return Vec(_mm512_setzero_ps()); }
  DTRAIN_INLINE Vec load(const float* from) { return Vec(_mm512_loadu_ps(from)); }
  DTRAIN_INLINE Vec load_partial(const float* from, int count, float fill = 0.0f) {
    return Vec(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(count), from));
  }
  void store(float* to) const { _mm512_storeu_ps(to, lanes); }
  void store_partial(float* to, int count) const { _mm512_mask_storeu_ps(to, mask(count), lanes); }
  Vec first(int count) const { return Vec(_mm512_maskz_mov_ps(mask(count), lanes)); }
  // rows[c] becomes what was lane c of each of the 16 rows.
  DTRAIN_INLINE void transpose(Vec* rows) {
    __m512 pairs[16], quads[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i].lanes, rows[i + 1].lanes);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i].lanes, rows[i + 1].lanes);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      const __m512d a = _mm512_castps_pd(pairs[i]), b = _mm512_castps_pd(pairs[i + 1]);
      const __m512d c = _mm512_castps_pd(pairs[i + 2]), d = _mm512_castps_pd(pairs[i + 3]);
      quads[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
      quads[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
      quads[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
      quads[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // a fourth of quads[4k + i] is column 4·fourth + i of rows 4k … 4k + 3
      const Fourths columns(quads[i], quads[4 + i], quads[8 + i], quads[12 + i]);
#pragma GCC unroll 4
      for (int fourth = 0; fourth < 4; ++fourth) rows[4 * fourth + i].lanes = columns.of[fourth];
    }
  }
  float sum() const { return _mm512_reduce_add_ps(lanes); }
  float maximum() const { return _mm512_reduce_max_ps(lanes); }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm512_add_ps(a.lanes, b.lanes)); }
  friend Vec operator-(Vec a, Vec b) { return Vec(_mm512_sub_ps(a.lanes, b.lanes)); }
  friend Vec operator*(Vec a, Vec b) { return Vec(_mm512_mul_ps(a.lanes, b.lanes)); }
  friend Vec operator/(Vec a, Vec b) { return Vec(_mm512_div_ps(a.lanes, b.lanes)); }
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)); }
  friend Vec max(Vec a, Vec b) { return Vec(_mm512_max_ps(a.lanes, b.lanes)); }
  friend Vec min(Vec a, Vec b) { return Vec(_mm512_min_ps(a.lanes, b.lanes)); }
  friend Vec sqrt(Vec a) { return Vec(_mm512_sqrt_ps(a.lanes)); }
  friend Vec select_positive(Vec x, Vec a, Vec b) {
    const __mmask16 positive = _mm512_cmp_ps_mask(x.lanes, _mm512_setzero_ps(), _CMP_GT_OQ);
    return Vec(_mm512_mask_blend_ps(positive, b.lanes, a.lanes));
  }
  friend Vec round_to_nearest(Vec a) {
    return Vec(_mm512_roundscale_ps(a.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  friend Vec scale_by_power_of_two(Vec a, Vec n) { return Vec(_mm512_scalef_ps(a.lanes, n.lanes)); }
  friend Vec exp_non_positive(Vec a) { return exp_by_polynomial(a); }
  DTRAIN_INLINE void deal_out(Vec& first, Vec& second) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512 a = first.lanes, b = second.lanes;
    first.lanes = _mm512_permutex2var_ps(a, even, b);
    second.lanes = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
  }
  DTRAIN_INLINE Places lane_numbers() { return Places{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
  DTRAIN_INLINE void store_places(Places places, std::int32_t* to, int count) {
    _mm512_mask_storeu_epi32(to, mask(count), reinterpret_cast<__m512i>(places));
  }
  bool any_nan() const { return _mm512_cmp_ps_mask(lanes, lanes, _CMP_UNORD_Q) != 0; }
  friend void take_larger(Vec value, std::int32_t place, Vec& best, Places& places) {
    const __mmask16 is_larger = _mm512_cmp_ps_mask(value.lanes, best.lanes, _CMP_GT_OQ);
    best = max(value, best);
    const __m512i from = _mm512_mask_set1_epi32(reinterpret_cast<__m512i>(places), is_larger, place);
    places = reinterpret_cast<Places>(from);
  }
};

template <>
struct Vec<double> {
  using Element = double;
  using Integers = Vec<std::uint64_t>;
  static constexpr int width = 8;
  __m512d lanes;
  typedef std::int32_t Places __attribute__((vector_size(32)));

  Vec() = default;
  explicit Vec(double value) : lanes(_mm512_set1_pd(value)) {}
  explicit Vec(__m512d raw) : lanes(raw) {}
  DTRAIN_INLINE __mmask8 mask(int count) { return static_cast<__mmask8>((1u << count) - 1u); }
  DTRAIN_INLINE Vec zero() { return Vec(_mm512_setzero_pd()); }
  DTRAIN_INLINE Vec load(const double* from) { return Vec(_mm512_loadu_pd(from)); }
  DTRAIN_INLINE Vec load_partial(const double* from, int count, double fill = 0.0) {
    return Vec(_mm512_mask_loadu_pd(_mm512_set1_pd(fill), mask(count), from));
  }
  void store(double* to) const { _mm512_storeu_pd(to, lanes); }
  void store_rounded(float* to) const { _mm256_storeu_ps(to, _mm512_cvtpd_ps(lanes)); }
  void store_partial(double* to, int count) const { _mm512_mask_storeu_pd(to, mask(count), lanes); }
  Vec first(int count) const { return Vec(_mm512_maskz_mov_pd(mask(count), lanes)); }
  // rows[c] becomes what was lane c of each of the 8 rows.
  DTRAIN_INLINE void transpose(Vec* rows) {
    __m512d pairs[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm512_unpacklo_pd(rows[i].lanes, rows[i + 1].lanes);
      pairs[i + 1] = _mm512_unpackhi_pd(rows[i].lanes, rows[i + 1].lanes);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {  // a fourth of pairs[2k + i] is column 2·fourth + i of rows 2k and 2k + 1
      const Fourths columns(_mm512_castpd_ps(pairs[i]), _mm512_castpd_ps(pairs[2 + i]), _mm512_castpd_ps(pairs[4 + i]),
                            _mm512_castpd_ps(pairs[6 + i]));
#pragma GCC unroll 4
      for (int fourth = 0; fourth < 4; ++fourth) rows[2 * fourth + i].lanes = _mm512_castps_pd(columns.of[fourth]);
    }
  }
  double sum() const { return _mm512_reduce_add_pd(lanes); }
  double maximum() const { return _mm512_reduce_max_pd(lanes); }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm512_add_pd(a.lanes, b.lanes)); }
  friend Vec operator-(Vec a, Vec b) { return Vec(_mm512_sub_pd(a.lanes, b.lanes)); }
  friend Vec operator*(Vec a, Vec b) { return Vec(_mm512_mul_pd(a.lanes, b.lanes)); }
  friend Vec operator/(Vec a, Vec b) { return Vec(_mm512_div_pd(a.lanes, b.lanes)); }
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(_mm512_fmadd_pd(a.lanes, b.lanes, c.lanes)); }
  friend Vec max(Vec a, Vec b) { return Vec(_mm512_max_pd(a.lanes, b.lanes)); }
  friend Vec min(Vec a, Vec b) { return Vec(_mm512_min_pd(a.lanes, b.lanes)); }
  friend Vec sqrt(Vec a) { return Vec(_mm512_sqrt_pd(a.lanes)); }
  friend Vec select_positive(Vec x, Vec a, Vec b) {
    const __mmask8 positive = _mm512_cmp_pd_mask(x.lanes, _mm512_setzero_pd(), _CMP_GT_OQ);
    return Vec(_mm512_mask_blend_pd(positive, b.lanes, a.lanes));
  }
  // f64 serves checks of gradients, where the library's accuracy counts for more than speed.
  friend Vec exp_non_positive(Vec a) {
    alignas(64) double values[width];
    _mm512_store_pd(values, a.lanes);
    for (double& value : values) value = std::exp(value);
    return Vec(_mm512_load_pd(values));
  }
  DTRAIN_INLINE void deal_out(Vec& first, Vec& second) {
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512d a = first.lanes, b = second.lanes;
    first.lanes = _mm512_permutex2var_pd(a, even, b);
    second.lanes = _mm512_permutex2var_pd(a, _mm512_add_epi64(even, _mm512_set1_epi64(1)), b);
  }
  DTRAIN_INLINE Places lane_numbers() { return Places{0, 1, 2, 3, 4, 5, 6, 7}; }
  DTRAIN_INLINE void store_places(Places places, std::int32_t* to, int count) {
    _mm256_mask_storeu_epi32(to, mask(count), reinterpret_cast<__m256i>(places));
  }
  bool any_nan() const { return _mm512_cmp_pd_mask(lanes, lanes, _CMP_UNORD_Q) != 0; }
  friend void take_larger(Vec value, std::int32_t place, Vec& best, Places& places) {
    const __mmask8 is_larger = _mm512_cmp_pd_mask(value.lanes, best.lanes, _CMP_GT_OQ);
    best = max(value, best);
    const __m256i from = _mm256_mask_set1_epi32(reinterpret_cast<__m256i>(places), is_larger, place);
    places = reinterpret_cast<Places>(from);
  }
};

template <>
struct Vec<std::uint64_t> {
  using Doubles = Vec<double>;
  static constexpr int width = 8;
  __m512i lanes;

  Vec() = default;
  explicit Vec(std::uint64_t value) : lanes(_mm512_set1_epi64(static_cast<long long>(value))) {}
  explicit Vec(__m512i raw) : lanes(raw) {}
  DTRAIN_INLINE Vec count_from(std::uint64_t first) {
    return Vec(first) + Vec(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  }
  void store(std::uint32_t* to) const { _mm512_storeu_si512(to, lanes); }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm512_add_epi64(a.lanes, b.lanes)); }
  friend Vec operator^(Vec a, Vec b) { return Vec(_mm512_xor_si512(a.lanes, b.lanes)); }
  friend Vec operator&(Vec a, Vec b) { return Vec(_mm512_and_si512(a.lanes, b.lanes)); }
  friend Vec operator>>(Vec a, int bits) { return Vec(_mm512_srli_epi64(a.lanes, static_cast<unsigned>(bits))); }
  friend Vec product_of_low_words(Vec a, Vec b) { return Vec(_mm512_mul_epu32(a.lanes, b.lanes)); }
  friend Vec join_low_words(Vec low, Vec high) {
    return Vec(_mm512_mask_shuffle_epi32(low.lanes, 0xAAAA, high.lanes, _MM_PERM_CCAA));
  }
  friend void in_turn(Vec a, Vec b, Vec* out) {
    out[0] = Vec(_mm512_permutex2var_epi64(a.lanes, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b.lanes));
    out[1] = Vec(_mm512_permutex2var_epi64(a.lanes, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b.lanes));
  }
  friend Vec<double> to_double(Vec a) { return Vec<double>(_mm512_cvtepi64_pd(a.lanes)); }
  friend void words_to_double(Vec words, Vec<double>* out) {
    out[0] = Vec<double>(_mm512_cvtepi32_pd(_mm512_castsi512_si256(words.lanes)));
    out[1] = Vec<double>(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(words.lanes, 1)));
  }
  DTRAIN_INLINE __mmask16 at_least(Vec words, std::uint32_t least) {
    return _mm512_cmpge_epu32_mask(words.lanes, _mm512_set1_epi32(static_cast<int>(least)));
  }
  friend void store_where_at_least(Vec words, std::uint32_t least, Vec<float> value, float* to) {
    _mm512_storeu_ps(to, _mm512_maskz_mov_ps(at_least(words, least), value.lanes));
  }
  friend void store_where_at_least(Vec words, std::uint32_t least, Vec<double> value, double* to) {
    const unsigned chosen = at_least(words, least);
    _mm512_storeu_pd(to, _mm512_maskz_mov_pd(static_cast<__mmask8>(chosen), value.lanes));
    _mm512_storeu_pd(to + width, _mm512_maskz_mov_pd(static_cast<__mmask8>(chosen >> width), value.lanes));
  }
};

}  // namespace dtrain::avx512
