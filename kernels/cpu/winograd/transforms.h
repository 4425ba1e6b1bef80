// The matrices of F(4, 3), applied to vectors: Bᵀ to 6 inputs, G to 3 weights, Aᵀ to 6 products, and for gradients A to 4
// and Gᵀ to 6. A tile is transformed in columns, then in rows.
//
// They are those of Toom and Cook for the points 0, ±a, ±b and ∞. Any five numbers would do in exact arithmetic; in f32
// 0, ±1, ±2 of Lavin and Gray are 2.3 times as far off as a = 5/8, b = 3/2, the best pair of sixteenths below 1 and eighths
// above it (docs/design/0017-convolution.md). Their powers are exact in binary, so Bᵀ and Aᵀ round nothing that is constant.
#pragma once

namespace dtrain {
namespace {

constexpr double kA = 0.625, kA2 = kA * kA, kA3 = kA2 * kA;
constexpr double kB = 1.5, kB2 = kB * kB, kB3 = kB2 * kB;
constexpr double kSum = kA2 + kB2, kProduct = kA2 * kB2;
constexpr double kOfZero = 1 / kProduct, kOfA = 1 / (2 * kA2 * (kA2 - kB2)), kOfB = 1 / (2 * kB2 * (kB2 - kA2));

template <typename V>
__attribute__((always_inline)) inline V constant(double value) {
  return V(static_cast<typename V::Element>(value));
}

struct InputTransform {  // Bᵀ
  static constexpr int from = 6, to = 6;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    const V even_a = fma(constant<V>(-kB2), x[2], x[4]), odd_a = fma(constant<V>(-kB2), x[1], x[3]);
    const V even_b = fma(constant<V>(-kA2), x[2], x[4]), odd_b = fma(constant<V>(-kA2), x[1], x[3]);
    y[0] = fma(constant<V>(kProduct), x[0], fma(constant<V>(-kSum), x[2], x[4]));
    y[1] = fma(constant<V>(kA), odd_a, even_a);
    y[2] = fma(constant<V>(-kA), odd_a, even_a);
    y[3] = fma(constant<V>(kB), odd_b, even_b);
    y[4] = fma(constant<V>(-kB), odd_b, even_b);
    y[5] = fma(constant<V>(kProduct), x[1], fma(constant<V>(-kSum), x[3], x[5]));
  }
};

struct WeightTransform {  // G
  static constexpr int from = 3, to = 6;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    const V even_a = fma(constant<V>(kA2), x[2], x[0]), even_b = fma(constant<V>(kB2), x[2], x[0]);
    y[0] = constant<V>(kOfZero) * x[0];
    y[1] = constant<V>(kOfA) * fma(constant<V>(kA), x[1], even_a);
    y[2] = constant<V>(kOfA) * fma(constant<V>(-kA), x[1], even_a);
    y[3] = constant<V>(kOfB) * fma(constant<V>(kB), x[1], even_b);
    y[4] = constant<V>(kOfB) * fma(constant<V>(-kB), x[1], even_b);
    y[5] = x[2];
  }
};

struct OutputTransform {  // Aᵀ
  static constexpr int from = 6, to = 4;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    const V sum_a = x[1] + x[2], sum_b = x[3] + x[4], difference_a = x[1] - x[2], difference_b = x[3] - x[4];
    y[0] = x[0] + (sum_a + sum_b);
    y[1] = fma(constant<V>(kA), difference_a, constant<V>(kB) * difference_b);
    y[2] = fma(constant<V>(kA2), sum_a, constant<V>(kB2) * sum_b);
    y[3] = fma(constant<V>(kA3), difference_a, fma(constant<V>(kB3), difference_b, x[5]));
  }
};

struct OutputGradientTransform {  // A
  static constexpr int from = 4, to = 6;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    const V even_a = fma(constant<V>(kA2), x[2], x[0]), odd_a = fma(constant<V>(kA2), x[3], x[1]);
    const V even_b = fma(constant<V>(kB2), x[2], x[0]), odd_b = fma(constant<V>(kB2), x[3], x[1]);
    y[0] = x[0];
    y[1] = fma(constant<V>(kA), odd_a, even_a);
    y[2] = fma(constant<V>(-kA), odd_a, even_a);
    y[3] = fma(constant<V>(kB), odd_b, even_b);
    y[4] = fma(constant<V>(-kB), odd_b, even_b);
    y[5] = x[3];
  }
};

struct WeightGradientTransform {  // Gᵀ
  static constexpr int from = 6, to = 3;
  template <typename V>
  __attribute__((always_inline)) static inline void apply(const V* x, V* y) {
    const V sum_a = constant<V>(kOfA) * (x[1] + x[2]), difference_a = constant<V>(kOfA * kA) * (x[1] - x[2]);
    const V sum_b = constant<V>(kOfB) * (x[3] + x[4]), difference_b = constant<V>(kOfB * kB) * (x[3] - x[4]);
    y[0] = fma(constant<V>(kOfZero), x[0], sum_a + sum_b);
    y[1] = difference_a + difference_b;
    y[2] = fma(constant<V>(kA2), sum_a, fma(constant<V>(kB2), sum_b, x[5]));
  }
};

// M X Mᵀ of a tile of vectors, load(i, j) its rows and columns, store(i, j, value) of the result.
template <typename V, typename Transform, typename Load, typename Store>
__attribute__((always_inline)) inline void transform_tile(Load load, Store store) {
  constexpr int kFrom = Transform::from, kTo = Transform::to;
  V between[kTo][kFrom];
  for (int j = 0; j < kFrom; ++j) {
    V column[kFrom], found[kTo];
    for (int i = 0; i < kFrom; ++i) column[i] = load(i, j);
    Transform::apply(column, found);
    for (int i = 0; i < kTo; ++i) between[i][j] = found[i];
  }
  for (int i = 0; i < kTo; ++i) {
    V found[kTo];
    Transform::apply(between[i], found);
    for (int j = 0; j < kTo; ++j) store(i, j, found[j]);
  }
}

}  // namespace
}  // namespace dtrain
