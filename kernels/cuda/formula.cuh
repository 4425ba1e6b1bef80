// What formulas call, for one element in its accumulation dtype. NaN goes through, as in the references.
#pragma once

#include "element.cuh"

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float exponential_minus_1(float x) { return expm1f(x); }
__device__ inline double exponential_minus_1(double x) { return expm1(x); }
__device__ inline float logarithm_of_1_plus(float x) { return log1pf(x); }
__device__ inline double logarithm_of_1_plus(double x) { return log1p(x); }
__device__ inline float square_root(float x) { return sqrtf(x); }
__device__ inline double square_root(double x) { return sqrt(x); }
__device__ inline float absolute(float x) { return fabsf(x); }
__device__ inline double absolute(double x) { return fabs(x); }

template <typename A>
__device__ inline A maximum(A a, A b) {
  return a > b || a != a ? a : b;
}

template <typename A>
__device__ inline A minimum(A a, A b) {
  return a < b || a != a ? a : b;
}

template <typename A>
__device__ inline A square(A x) {
  return x * x;
}

template <typename A>
__device__ inline A sign(A x) {
  return x > 0 ? (A)1 : x < 0 ? (A)-1 : x != x ? x : (A)0;
}

// The value, or x where that is NaN.
template <typename A>
__device__ inline A keep_nan(A value, A x) {
  return x != x ? x : value;
}

// 1 / (1 + e^−x) without overflow on either side.
template <typename A>
__device__ inline A sigmoid(A x) {
  const A small = exponential(-absolute(x));
  return (x >= 0 ? (A)1 : small) / (1 + small);
}

// log(1 + e^x) without overflow.
template <typename A>
__device__ inline A softplus(A x) {
  return maximum(x, (A)0) + logarithm_of_1_plus(exponential(-absolute(x)));
}
