// Walk over the elements of channels, image by image as they lie in memory.
//
// Where channels have several elements in a row (spatial > 1), a block is one channel of one image and lanes are its elements;
// where they have one, a block is a vector of channels of one image and lanes are channels. A kernel is written once
// against a block:
//   per(values)       the values of the block's channels, in the lanes of their elements
//   walk(body)        body(lane, offset) over all elements
//   total(sums)       the sum of each channel, in the lanes of its elements
//   store(value, to)  one value a channel
#pragma once

#include <algorithm>

#include "batch_norm/batch_norm.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

template <typename V>
class OneChannel {
 public:
  using T = typename V::Element;
  OneChannel(const ChannelShape& shape, std::int64_t image, std::int64_t channel)
      : channel_(channel), start_((image * shape.channels + channel) * shape.spatial), size_(shape.spatial) {}

  V per(const T* values) const { return V(values[channel_]); }
  V total(V sums) const { return V(sums.sum()); }
  void store(V value, T* to) const {
    if constexpr (V::width == 1) value.store(to + channel_);
    else value.store_partial(to + channel_, 1);
  }
  template <typename Body>
  __attribute__((always_inline)) void walk(Body body) const {
    for_each_vector<V>(size_, [&](std::int64_t i, auto lane) { body(lane, start_ + i); });
  }

 private:
  std::int64_t channel_, start_, size_;
};

template <typename V, typename Lane>
class ChannelVector {
 public:
  using T = typename V::Element;
  ChannelVector(const ChannelShape& shape, std::int64_t image, std::int64_t channel, Lane lane)
      : channel_(channel), start_(image * shape.channels + channel), lane_(lane) {}

  V per(const T* values) const { return lane_.load(values + channel_); }
  V total(V sums) const { return sums; }
  void store(V value, T* to) const { lane_.store(value, to + channel_); }
  template <typename Body>
  __attribute__((always_inline)) void walk(Body body) const {
    body(lane_, start_);
  }

 private:
  std::int64_t channel_, start_;
  Lane lane_;
};

// body(block, its number) for the blocks of the part in one image.
template <typename V, typename Body>
__attribute__((always_inline)) inline void for_each_block_of_image(const ChannelShape& shape, std::int64_t image, Body body) {
  const Range part = shape.part;
  if (shape.spatial == 1) {
    for_each_vector<V>(part.end - part.begin, [&](std::int64_t i, auto lane) {
      body(ChannelVector<V, decltype(lane)>(shape, image, part.begin + i, lane), i / V::width);
    });
  } else {
    for (std::int64_t c = part.begin; c < part.end; ++c) body(OneChannel<V>(shape, image, c), c - part.begin);
  }
}

// body(block) for all blocks of the part, in the order of memory.
template <typename V, typename Body>
inline void for_each_block(const ChannelShape& shape, Body body) {
  for (std::int64_t image = 0; image < shape.batch; ++image) {
    for_each_block_of_image<V>(shape, image, [&](const auto& block, std::int64_t) { body(block); });
  }
}

constexpr std::int64_t kMostChannels = 64;  // whose sums are made together

// work(the shape with the part of a group) for groups of channels: as many as `nbytes` of them make, which a second pass finds
// near.
template <typename V, typename Work>
inline void for_each_group(const ChannelShape& shape, std::int64_t nbytes, const Work& work) {
  const std::int64_t channel = std::max<std::int64_t>(1, shape.batch * shape.spatial * sizeof(typename V::Element));
  const std::int64_t least = shape.spatial == 1 ? kMostChannels : 1;
  const std::int64_t together = std::clamp(nbytes / channel, least, kMostChannels);
  ChannelShape group = shape;
  for (std::int64_t c = shape.part.begin; c < shape.part.end; c += together) {
    group.part = {c, std::min(c + together, shape.part.end)};
    work(group);
  }
}

// N sums a channel, of a group: add(block, sums) for all blocks, image by image, then done(block, sums) for each channel.
template <typename V, int N, typename Add, typename Done>
inline void sum_channels(const ChannelShape& group, const Add& add, const Done& done) {
  V sums[kMostChannels][N];
  for (std::int64_t i = 0; i < group.part.end - group.part.begin; ++i) {
    for (V& sum : sums[i]) sum = V::zero();
  }
  for (std::int64_t image = 0; image < group.batch; ++image) {
    for_each_block_of_image<V>(group, image, [&](const auto& block, std::int64_t number) { add(block, sums[number]); });
  }
  for_each_block_of_image<V>(group, 0, [&](const auto& block, std::int64_t number) { done(block, sums[number]); });
}

}  // namespace
}  // namespace dtrain
