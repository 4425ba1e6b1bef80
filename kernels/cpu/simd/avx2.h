// Vec<float> of 8 lanes, Vec<double> and integers of 4: AVX2 with FMA. Include only in what is compiled for it.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "simd/exponential.h"

#define DTRAIN_INLINE static inline __attribute__((always_inline))

namespace dtrain::avx2 {

template <typename T>
struct Vec;

// A window of this, starting `count` before the middle, has its first `count` lanes set.
alignas(64) static const std::int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

template <>
struct Vec<float> {
  using Element = float;
  using Integers = Vec<std::uint64_t>;
  static constexpr int width = 8;
  __m256 lanes;
  typedef std::int32_t Places __attribute__((vector_size(32)));

  Vec() = default;
  explicit Vec(float value) : lanes(_mm256_set1_ps(value)) {}
  explicit Vec(__m256 raw) : lanes(raw) {}
  DTRAIN_INLINE __m256i mask(int count) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - count));
  }
  DTRAIN_INLINE Vec zero() { return Vec(_mm256_setzero_ps()); }
  DTRAIN_INLINE Vec load(const float* from) { return Vec(_mm256_loadu_ps(from)); }
  DTRAIN_INLINE Vec load_partial(const float* from, int count, float fill = 0.0f) {
    const __m256i wanted = mask(count);
    return Vec(_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(from, wanted), _mm256_castsi256_ps(wanted)));
  }
  void store(float* to) const { _mm256_storeu_ps(to, lanes); }
  void store_partial(float* to, int count) const { _mm256_maskstore_ps(to, mask(count), lanes); }
  Vec first(int count) const { return Vec(_mm256_and_ps(lanes, _mm256_castsi256_ps(mask(count)))); }
  // rows[c] becomes what was lane c of each of the 8 rows.
  DTRAIN_INLINE void transpose(Vec* rows) {
    __m256 pairs[8], quads[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i].lanes, rows[i + 1].lanes);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i].lanes, rows[i + 1].lanes);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // a half of quads[4k + i] is column 4·half + i of rows 4k … 4k + 3
      rows[i].lanes = _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x20);
      rows[4 + i].lanes = _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x31);
    }
  }
  float sum() const {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  float maximum() const {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm256_add_ps(a.lanes, b.lanes)); }
  friend Vec operator-(Vec a, Vec b) { return Vec(_mm256_sub_ps(a.lanes, b.lanes)); }
  friend Vec operator*(Vec a, Vec b) { return Vec(_mm256_mul_ps(a.lanes, b.lanes)); }
  friend Vec operator/(Vec a, Vec b) { return Vec(_mm256_div_ps(a.lanes, b.lanes)); }
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes)); }
  friend Vec max(Vec a, Vec b) { return Vec(_mm256_max_ps(a.lanes, b.lanes)); }
  friend Vec min(Vec a, Vec b) { return Vec(_mm256_min_ps(a.lanes, b.lanes)); }
  friend Vec sqrt(Vec a) { return Vec(_mm256_sqrt_ps(a.lanes)); }
  friend Vec select_positive(Vec x, Vec a, Vec b) {
    return Vec(_mm256_blendv_ps(b.lanes, a.lanes, _mm256_cmp_ps(x.lanes, _mm256_setzero_ps(), _CMP_GT_OQ)));
  }
  friend Vec round_to_nearest(Vec a) {
    return Vec(_mm256_round_ps(a.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  // a · 2ⁿ for n from -150 to 0. Where a power is no normal number, in two steps of half the exponent: only the last
  // one rounds.
  friend Vec scale_by_power_of_two(Vec a, Vec n) {
    const __m256i whole = _mm256_cvtps_epi32(n.lanes);
    const __m256 is_small = _mm256_cmp_ps(n.lanes, _mm256_set1_ps(-126.0f), _CMP_LT_OQ);
    if (__builtin_expect(_mm256_testz_ps(is_small, is_small), 1)) return a * Vec(power_of_two(whole));
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return a * Vec(power_of_two(half)) * Vec(power_of_two(_mm256_sub_epi32(whole, half)));
  }
  DTRAIN_INLINE __m256 power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  friend Vec exp_non_positive(Vec a) { return exp_by_polynomial(a); }
  DTRAIN_INLINE void deal_out(Vec& first, Vec& second) {
    const __m256 low = _mm256_permute2f128_ps(first.lanes, second.lanes, 0x20);
    const __m256 high = _mm256_permute2f128_ps(first.lanes, second.lanes, 0x31);
    first.lanes = _mm256_shuffle_ps(low, high, 0x88);
    second.lanes = _mm256_shuffle_ps(low, high, 0xDD);
  }
  DTRAIN_INLINE Places lane_numbers() { return Places{0, 1, 2, 3, 4, 5, 6, 7}; }
  DTRAIN_INLINE void store_places(Places places, std::int32_t* to, int count) {
    _mm256_maskstore_epi32(to, mask(count), reinterpret_cast<__m256i>(places));
  }
  bool any_nan() const { return _mm256_movemask_ps(_mm256_cmp_ps(lanes, lanes, _CMP_UNORD_Q)) != 0; }
  friend void take_larger(Vec value, std::int32_t place, Vec& best, Places& places) {
    const __m256 is_larger = _mm256_cmp_ps(value.lanes, best.lanes, _CMP_GT_OQ);
    best = max(value, best);
    const __m256 from = _mm256_castsi256_ps(_mm256_set1_epi32(place));
    places = reinterpret_cast<Places>(_mm256_blendv_ps(reinterpret_cast<__m256>(places), from, is_larger));
  }
};

template <>
struct Vec<double> {
  using Element = double;
  using Integers = Vec<std::uint64_t>;
  static constexpr int width = 4;
  __m256d lanes;
  typedef std::int32_t Places __attribute__((vector_size(16)));

  Vec() = default;
  explicit Vec(double value) : lanes(_mm256_set1_pd(value)) {}
  explicit Vec(__m256d raw) : lanes(raw) {}
  DTRAIN_INLINE __m256i mask(int count) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - 2 * count));
  }
  DTRAIN_INLINE Vec zero() { return Vec(_mm256_setzero_pd()); }
  DTRAIN_INLINE Vec load(const double* from) { return Vec(_mm256_loadu_pd(from)); }
  DTRAIN_INLINE Vec load_partial(const double* from, int count, double fill = 0.0) {
    const __m256i wanted = mask(count);
    return Vec(_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(from, wanted), _mm256_castsi256_pd(wanted)));
  }
  void store(double* to) const { _mm256_storeu_pd(to, lanes); }
  void store_rounded(float* to) const { _mm_storeu_ps(to, _mm256_cvtpd_ps(lanes)); }
  void store_partial(double* to, int count) const { _mm256_maskstore_pd(to, mask(count), lanes); }
  Vec first(int count) const { return Vec(_mm256_and_pd(lanes, _mm256_castsi256_pd(mask(count)))); }
  // rows[c] becomes what was lane c of each of the 4 rows.
  DTRAIN_INLINE void transpose(Vec* rows) {
    __m256d pairs[4];
#pragma GCC unroll 2
    for (int i = 0; i < 4; i += 2) {
      pairs[i] = _mm256_unpacklo_pd(rows[i].lanes, rows[i + 1].lanes);
      pairs[i + 1] = _mm256_unpackhi_pd(rows[i].lanes, rows[i + 1].lanes);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {  // a half of pairs[2k + i] is column 2·half + i of rows 2k and 2k + 1
      rows[i].lanes = _mm256_permute2f128_pd(pairs[i], pairs[2 + i], 0x20);
      rows[2 + i].lanes = _mm256_permute2f128_pd(pairs[i], pairs[2 + i], 0x31);
    }
  }
  double sum() const {
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(lanes), _mm256_extractf128_pd(lanes, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }
  double maximum() const {
    const __m128d half = _mm_max_pd(_mm256_castpd256_pd128(lanes), _mm256_extractf128_pd(lanes, 1));
    return _mm_cvtsd_f64(_mm_max_sd(half, _mm_unpackhi_pd(half, half)));
  }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm256_add_pd(a.lanes, b.lanes)); }
  friend Vec operator-(Vec a, Vec b) { return Vec(_mm256_sub_pd(a.lanes, b.lanes)); }
  friend Vec operator*(Vec a, Vec b) { return Vec(_mm256_mul_pd(a.lanes, b.lanes)); }
  friend Vec operator/(Vec a, Vec b) { return Vec(_mm256_div_pd(a.lanes, b.lanes)); }
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(_mm256_fmadd_pd(a.lanes, b.lanes, c.lanes)); }
  friend Vec max(Vec a, Vec b) { return Vec(_mm256_max_pd(a.lanes, b.lanes)); }
  friend Vec min(Vec a, Vec b) { return Vec(_mm256_min_pd(a.lanes, b.lanes)); }
  friend Vec sqrt(Vec a) { return Vec(_mm256_sqrt_pd(a.lanes)); }
  friend Vec select_positive(Vec x, Vec a, Vec b) {
    return Vec(_mm256_blendv_pd(b.lanes, a.lanes, _mm256_cmp_pd(x.lanes, _mm256_setzero_pd(), _CMP_GT_OQ)));
  }
  // f64 serves checks of gradients, where the library's accuracy counts for more than speed.
  friend Vec exp_non_positive(Vec a) {
    alignas(32) double values[width];
    _mm256_store_pd(values, a.lanes);
    for (double& value : values) value = std::exp(value);
    return Vec(_mm256_load_pd(values));
  }
  DTRAIN_INLINE void deal_out(Vec& first, Vec& second) {
    const __m256d low = _mm256_permute2f128_pd(first.lanes, second.lanes, 0x20);
    const __m256d high = _mm256_permute2f128_pd(first.lanes, second.lanes, 0x31);
    first.lanes = _mm256_unpacklo_pd(low, high);
    second.lanes = _mm256_unpackhi_pd(low, high);
  }
  DTRAIN_INLINE Places lane_numbers() { return Places{0, 1, 2, 3}; }
  DTRAIN_INLINE void store_places(Places places, std::int32_t* to, int count) {
    const __m128i wanted = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kLaneMask + 8 - count));
    _mm_maskstore_epi32(to, wanted, reinterpret_cast<__m128i>(places));
  }
  bool any_nan() const { return _mm256_movemask_pd(_mm256_cmp_pd(lanes, lanes, _CMP_UNORD_Q)) != 0; }
  friend void take_larger(Vec value, std::int32_t place, Vec& best, Places& places) {
    const __m256d is_larger = _mm256_cmp_pd(value.lanes, best.lanes, _CMP_GT_OQ);
    best = max(value, best);
    const __m128 low = _mm_castpd_ps(_mm256_castpd256_pd128(is_larger));
    const __m128 high = _mm_castpd_ps(_mm256_extractf128_pd(is_larger, 1));
    const __m128 narrow = _mm_shuffle_ps(low, high, 0x88), from = _mm_castsi128_ps(_mm_set1_epi32(place));
    places = reinterpret_cast<Places>(_mm_blendv_ps(reinterpret_cast<__m128>(places), from, narrow));
  }
};

template <>
struct Vec<std::uint64_t> {
  using Doubles = Vec<double>;
  static constexpr int width = 4;
  __m256i lanes;

  Vec() = default;
  explicit Vec(std::uint64_t value) : lanes(_mm256_set1_epi64x(static_cast<long long>(value))) {}
  explicit Vec(__m256i raw) : lanes(raw) {}
  DTRAIN_INLINE Vec count_from(std::uint64_t first) { return Vec(first) + Vec(_mm256_setr_epi64x(0, 1, 2, 3)); }
  void store(std::uint32_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), lanes); }

  friend Vec operator+(Vec a, Vec b) { return Vec(_mm256_add_epi64(a.lanes, b.lanes)); }
  friend Vec operator^(Vec a, Vec b) { return Vec(_mm256_xor_si256(a.lanes, b.lanes)); }
  friend Vec operator&(Vec a, Vec b) { return Vec(_mm256_and_si256(a.lanes, b.lanes)); }
  friend Vec operator>>(Vec a, int bits) { return Vec(_mm256_srli_epi64(a.lanes, bits)); }
  friend Vec product_of_low_words(Vec a, Vec b) { return Vec(_mm256_mul_epu32(a.lanes, b.lanes)); }
  friend Vec join_low_words(Vec low, Vec high) {
    return Vec(_mm256_blend_epi32(low.lanes, _mm256_slli_epi64(high.lanes, 32), 0xAA));
  }
  friend void in_turn(Vec a, Vec b, Vec* out) {
    const __m256i even = _mm256_unpacklo_epi64(a.lanes, b.lanes);
    const __m256i odd = _mm256_unpackhi_epi64(a.lanes, b.lanes);
    out[0] = Vec(_mm256_permute2x128_si256(even, odd, 0x20));
    out[1] = Vec(_mm256_permute2x128_si256(even, odd, 0x31));
  }
  // The words of a lane become the last bits of 2⁸⁴ and of 2⁵²; these are then taken off, all of it exact.
  friend Vec<double> to_double(Vec a) {
    const __m256i high = _mm256_or_si256(_mm256_srli_epi64(a.lanes, 32), _mm256_castpd_si256(_mm256_set1_pd(0x1p84)));
    const __m256i low = _mm256_blend_epi32(a.lanes, _mm256_castpd_si256(_mm256_set1_pd(0x1p52)), 0xAA);
    return Vec<double>(_mm256_castsi256_pd(high)) - Vec<double>(0x1p84 + 0x1p52) + Vec<double>(_mm256_castsi256_pd(low));
  }
  friend void words_to_double(Vec words, Vec<double>* out) {
    out[0] = Vec<double>(_mm256_cvtepi32_pd(_mm256_castsi256_si128(words.lanes)));
    out[1] = Vec<double>(_mm256_cvtepi32_pd(_mm256_extracti128_si256(words.lanes, 1)));
  }
  // There is no comparison without sign.
  DTRAIN_INLINE __m256i at_least(Vec words, std::uint32_t least) {
    const __m256i larger = _mm256_max_epu32(words.lanes, _mm256_set1_epi32(static_cast<int>(least)));
    return _mm256_cmpeq_epi32(larger, words.lanes);
  }
  friend void store_where_at_least(Vec words, std::uint32_t least, Vec<float> value, float* to) {
    _mm256_storeu_ps(to, _mm256_and_ps(_mm256_castsi256_ps(at_least(words, least)), value.lanes));
  }
  friend void store_where_at_least(Vec words, std::uint32_t least, Vec<double> value, double* to) {
    const __m256i chosen = at_least(words, least);
    const __m256i first = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(chosen));
    const __m256i second = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(chosen, 1));
    _mm256_storeu_pd(to, _mm256_and_pd(_mm256_castsi256_pd(first), value.lanes));
    _mm256_storeu_pd(to + width, _mm256_and_pd(_mm256_castsi256_pd(second), value.lanes));
  }
};

}  // namespace dtrain::avx2
