// Walk over the elements of a channel, or of as many neighbouring channels as a vector has lanes.
//
// Where channels have several elements in a row (spatial > 1), a block is one channel and lanes are its elements; where
// they have one, a block is a vector of channels and lanes are channels. A kernel is written once against a block:
//   per(values)       the values of the block's channels, in the lanes of their elements
//   walk(body)        body(lane, offset) over all elements
//   total(sums)       the sum of each channel, in the lanes of its elements
//   store(value, to)  one value a channel
#pragma once

#include "batch_norm/batch_norm.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
class OneChannel {
 public:
  using T = typename V::Element;
  OneChannel(const ChannelShape& shape, std::int64_t channel) : shape_(shape), channel_(channel) {}

  V per(const T* values) const { return V(values[channel_]); }
  V total(V sums) const { return V(sums.sum()); }
  void store(V value, T* to) const {
    if constexpr (V::width == 1) value.store(to + channel_);
    else value.store_partial(to + channel_, 1);
  }
  template <typename Body>
  __attribute__((always_inline)) void walk(Body body) const {
    for (std::int64_t image = 0; image < shape_.batch; ++image) {
      const std::int64_t start = (image * shape_.channels + channel_) * shape_.spatial;
      for_each_vector<V>(shape_.spatial, [&](std::int64_t i, auto lane) { body(lane, start + i); });
    }
  }

 private:
  const ChannelShape& shape_;
  std::int64_t channel_;
};

template <typename V, typename Lane>
class ChannelVector {
 public:
  using T = typename V::Element;
  ChannelVector(const ChannelShape& shape, std::int64_t channel, Lane lane)
      : shape_(shape), channel_(channel), lane_(lane) {}

  V per(const T* values) const { return lane_.load(values + channel_); }
  V total(V sums) const { return sums; }
  void store(V value, T* to) const { lane_.store(value, to + channel_); }
  template <typename Body>
  __attribute__((always_inline)) void walk(Body body) const {
    for (std::int64_t image = 0; image < shape_.batch; ++image) body(lane_, image * shape_.channels + channel_);
  }

 private:
  const ChannelShape& shape_;
  std::int64_t channel_;
  Lane lane_;
};

// All blocks of the part.
template <typename V, typename Body>
inline void for_each_channel_block(const ChannelShape& shape, Body body) {
  if (shape.spatial == 1) {
    for_each_vector<V>(shape.part.end - shape.part.begin, [&](std::int64_t i, auto lane) {
      body(ChannelVector<V, decltype(lane)>(shape, shape.part.begin + i, lane));
    });
  } else {
    for (std::int64_t channel = shape.part.begin; channel < shape.part.end; ++channel) body(OneChannel<V>(shape, channel));
  }
}

}  // namespace
}  // namespace dtrain
