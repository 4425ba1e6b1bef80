// Sums and means over axes: where the last axes are reduced, and as `columns` where they are kept.
//
// A long sum is made of groups of its terms, as many as its shape says and never as threads are, so that these can share
// it. A kernel adds up whole groups; the binding adds those.
#pragma once

#include <cstdint>

#include "simd/range.h"

namespace dtrain {

// x [images][channels][spatial] summed over images and spatial. The images · spatial terms of a channel, one after another,
// are cut into `groups`; `part` is which of the channels · groups are to be computed.
struct SumShape {
  std::int64_t images, channels, spatial, groups;
  Range part;
};

// Elements of a group at most. A kernel relies on it: it has room for so many sums of blocks.
constexpr std::int64_t kElementsOfGroup = 1 << 15;

// out [channels][groups] = Σ x / divisor. Sums and means are called alike; the divisor tells them apart.
template <typename T>
using sum_fn = void(const T* x, T* out, T divisor, const SumShape& shape);
template <typename T>
using mean_fn = sum_fn<T>;
template <typename T>
using sum_to_shape_fn = sum_fn<T>;

// x [outer][rows][inner] summed over rows, which are cut into `groups`, and columns into `panels`; `part` is which of the
// outer · groups · panels are to be computed.
struct ColumnSumShape {
  std::int64_t outer, rows, inner, groups, panels;
  Range part;
};

// Rows of a group at most, and columns of a panel: its sums stay in the first cache while rows pass by.
constexpr std::int64_t kRowsOfGroup = 128, kColumnsOfPanel = 1024;

// out [outer][groups][inner] = Σ x / divisor
template <typename T>
using sum_columns_fn = void(const T* x, T* out, T divisor, const ColumnSumShape& shape);
template <typename T>
using mean_columns_fn = sum_columns_fn<T>;
template <typename T>
using sum_to_shape_columns_fn = sum_columns_fn<T>;

}  // namespace dtrain
