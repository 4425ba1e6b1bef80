// Sums over a vector type. What is added one after another is short, and such sums are added in pairs, so that the error
// grows with the logarithm of their number.
#pragma once

#include <algorithm>

#include "reduction/reduction.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// Vectors that a block adds up side by side, for additions take several cycles; and how often, one after another.
constexpr int kSideBySide = 8, kInSequence = 16;
template <typename V>
constexpr std::int64_t kBlock = kSideBySide * kInSequence * V::width;

// The sum of a block at most, spread over the lanes of a vector.
template <typename V>
__attribute__((always_inline)) inline V block_sum(const typename V::Element* x, std::int64_t size) {
  constexpr std::int64_t step = kSideBySide * V::width;
  V total = V::zero();
  std::int64_t done = 0;
  if (size >= step) {
    V sums[kSideBySide];
#pragma GCC unroll 8
    for (int k = 0; k < kSideBySide; ++k) sums[k] = V::load(x + k * V::width);
    for (done = step; done + step <= size; done += step) {
#pragma GCC unroll 8
      for (int k = 0; k < kSideBySide; ++k) sums[k] = sums[k] + V::load(x + done + k * V::width);
    }
    total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
  for_each_vector<V>(size - done, [&](std::int64_t i, auto lane) { total = total + lane.load(x + done + i); });
  return total;
}

// Adds up sums of blocks in pairs, and those sums again, as soon as there are two of as many blocks.
template <typename V>
class PairwiseSum {
 public:
  void add(V sum) {
    int level = 0;
    for (std::int64_t blocks = count_++; blocks % 2 != 0; blocks /= 2) sum = of_[level++] + sum;
    of_[level] = sum;
  }

  // Of a run of neighbours, whole blocks and what is left.
  void add_run(const typename V::Element* x, std::int64_t size) {
    for (std::int64_t done = 0; done < size; done += kBlock<V>) {
      add(block_sum<V>(x + done, std::min(size - done, kBlock<V>)));
    }
  }

  V total() const {
    V sum = V::zero();
    int level = 0;
    for (std::int64_t blocks = count_; blocks > 0; blocks /= 2, ++level) {
      if (blocks % 2 != 0) sum = of_[level] + sum;
    }
    return sum;
  }

 private:
  static constexpr int kLevels = 16;  // a block has an element at least
  static_assert(kElementsOfGroup < (std::int64_t(1) << kLevels), "a group has more blocks than there are levels for");
  V of_[kLevels];  // of_[i] is the sum of 2^i blocks, where count_ has that bit
  std::int64_t count_ = 0;
};

// The sum of some terms of a channel, spread over lanes.
template <typename V>
V sum_of_images(const typename V::Element* x, const SumShape& shape, std::int64_t channel, Range terms) {
  PairwiseSum<V> sums;
  std::int64_t image = terms.begin / shape.spatial, within = terms.begin % shape.spatial;
  for (std::int64_t left = terms.end - terms.begin; left > 0; ++image, within = 0) {
    const std::int64_t size = std::min(left, shape.spatial - within);
    sums.add_run(x + (image * shape.channels + channel) * shape.spatial + within, size);
    left -= size;
  }
  return sums.total();
}

template <typename V>
V sum_of_run(const typename V::Element* x, std::int64_t size) {
  if (size <= kBlock<V>) return block_sum<V>(x, size);
  PairwiseSum<V> sums;
  sums.add_run(x, size);
  return sums.total();
}

template <typename V>
void sum(const typename V::Element* x, typename V::Element* out, typename V::Element divisor, const SumShape& shape) {
  const std::int64_t length = shape.images * shape.spatial;
  for (std::int64_t unit = shape.part.begin; unit < shape.part.end; ++unit) {
    std::int64_t channel = unit;
    Range terms{0, length};
    if (shape.groups > 1) {
      channel = unit / shape.groups;
      const std::int64_t group = unit % shape.groups;
      terms = {length * group / shape.groups, length * (group + 1) / shape.groups};
    }
    const V lanes = shape.images == 1
                        ? sum_of_run<V>(x + channel * shape.spatial + terms.begin, terms.end - terms.begin)
                        : sum_of_images<V>(x, shape, channel, terms);
    out[unit] = lanes.sum() / divisor;
  }
}

template <typename V>
void mean(const typename V::Element* x, typename V::Element* out, typename V::Element divisor, const SumShape& shape) {
  sum<V>(x, out, divisor, shape);
}

template <typename V>
void sum_to_shape(const typename V::Element* x, typename V::Element* out, typename V::Element divisor,
                  const SumShape& shape) {
  sum<V>(x, out, divisor, shape);
}

// to[i] = Σ over rows x[row][i]. Eight rows are added to each other before they are to the sums, which are read and written
// that much less often.
template <typename V>
void sum_of_rows(const typename V::Element* x, std::int64_t rows, std::int64_t apart, typename V::Element* to,
                 std::int64_t columns) {
  const auto eight = [apart](auto lane, const typename V::Element* from) {
    const auto row = [&](int k) { return lane.load(from + k * apart); };
    return ((row(0) + row(1)) + (row(2) + row(3))) + ((row(4) + row(5)) + (row(6) + row(7)));
  };
  std::int64_t done;
  if (rows >= 8) {
    for_each_vector<V>(columns, [&](std::int64_t i, auto lane) { lane.store(eight(lane, x + i), to + i); });
    for (done = 8; done + 8 <= rows; done += 8) {
      const typename V::Element* from = x + done * apart;
      for_each_vector<V>(columns, [&](std::int64_t i, auto lane) {
        lane.store(lane.load(to + i) + eight(lane, from + i), to + i);
      });
    }
  } else {
    for_each_vector<V>(columns, [&](std::int64_t i, auto lane) { lane.store(lane.load(x + i), to + i); });
    done = 1;
  }
  for (; done < rows; ++done) {
    const typename V::Element* from = x + done * apart;
    for_each_vector<V>(columns, [&](std::int64_t i, auto lane) {
      lane.store(lane.load(to + i) + lane.load(from + i), to + i);
    });
  }
}

template <typename V>
void sum_columns(const typename V::Element* x, typename V::Element* out, typename V::Element divisor,
                 const ColumnSumShape& shape) {
  using T = typename V::Element;
  for (std::int64_t unit = shape.part.begin; unit < shape.part.end; ++unit) {
    const std::int64_t sums = unit / shape.panels, first = unit % shape.panels * kColumnsOfPanel;
    const std::int64_t outer = sums / shape.groups, group = sums % shape.groups;
    const std::int64_t begin = shape.rows * group / shape.groups, end = shape.rows * (group + 1) / shape.groups;
    const std::int64_t columns = std::min(shape.inner - first, kColumnsOfPanel);
    T* to = out + sums * shape.inner + first;
    sum_of_rows<V>(x + (outer * shape.rows + begin) * shape.inner + first, end - begin, shape.inner, to, columns);
    if (divisor != T(1)) {
      for_each_vector<V>(columns, [=](std::int64_t i, auto lane) { lane.store(lane.load(to + i) / V(divisor), to + i); });
    }
  }
}

template <typename V>
void mean_columns(const typename V::Element* x, typename V::Element* out, typename V::Element divisor,
                  const ColumnSumShape& shape) {
  sum_columns<V>(x, out, divisor, shape);
}

template <typename V>
void sum_to_shape_columns(const typename V::Element* x, typename V::Element* out, typename V::Element divisor,
                          const ColumnSumShape& shape) {
  sum_columns<V>(x, out, divisor, shape);
}

}  // namespace
}  // namespace dtrain
