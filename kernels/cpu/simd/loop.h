// Walk over n elements in vectors and one partial vector; a body is written once for both.
#pragma once

#include <cstdint>
#include <cstring>  // memcpy

namespace dtrain {
namespace {

// Whole: load and store of a full vector. Partial: of its first `count` lanes; keep() zeroes the missing ones, which
// matters before a sum over lanes. Bodies get one of them as `lane`.
template <typename V>
struct Whole {
  using T = typename V::Element;
  V load(const T* from, T = T(0)) const { return V::load(from); }
  void store(V value, T* to) const { value.store(to); }
  void store_places(typename V::Places places, std::int32_t* to) const { std::memcpy(to, &places, sizeof(places)); }
  V keep(V value) const { return value; }
};

template <typename V>
struct Partial {
  using T = typename V::Element;
  int count;
  V load(const T* from, T fill = T(0)) const { return V::load_partial(from, count, fill); }
  void store(V value, T* to) const { value.store_partial(to, count); }
  void store_places(typename V::Places places, std::int32_t* to) const { V::store_places(places, to, count); }
  V keep(V value) const { return value.first(count); }
};

// body(i, lane) for i = 0, width, 2·width, …
template <typename V, typename Body>
__attribute__((always_inline)) inline void for_each_vector(std::int64_t size, Body body) {
  std::int64_t i = 0;
  for (; i + V::width <= size; i += V::width) body(i, Whole<V>{});
  if constexpr (V::width > 1) {
    if (i < size) body(i, Partial<V>{static_cast<int>(size - i)});
  }
}

// A function of numbers, lane by lane: for f64, where the library's accuracy counts for more than speed.
template <typename V, typename Function>
inline V each_lane(V x, Function function) {
  typename V::Element values[V::width];
  x.store(values);
  for (auto& value : values) value = function(value);
  return V::load(values);
}

}  // namespace
}  // namespace dtrain
