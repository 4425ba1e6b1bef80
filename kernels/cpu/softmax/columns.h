// Softmax along an axis with others behind it, over a vector type: `inner` columns of `classes` elements at once. Their
// maxima and sums lie in memory that the caller gives.
#pragma once

#include <cmath>
#include <limits>

#include "simd/loop.h"
#include "softmax/softmax.h"

namespace dtrain {
namespace {

template <typename V>
void fill(typename V::Element* to, typename V::Element value, std::int64_t count) {
  for_each_vector<V>(count, [=](std::int64_t i, auto lane) { lane.store(V(value), to + i); });
}

// A NaN may be missed here, but not by whatever is computed from its column afterwards.
template <typename V>
void column_maxima(const typename V::Element* x, typename V::Element* largest, const ColumnsShape& shape) {
  fill<V>(largest, -std::numeric_limits<typename V::Element>::infinity(), shape.inner);
  for (std::int64_t k = 0; k < shape.classes; ++k, x += shape.inner) {
    for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
      lane.store(max(lane.load(x + i), lane.load(largest + i)), largest + i);
    });
  }
}

template <typename V>
void softmax_columns(const typename V::Element* x, typename V::Element* out, typename V::Element* largest,
                     typename V::Element* total, const ColumnsShape& shape) {
  const std::int64_t image = shape.classes * shape.inner;
  for (std::int64_t outer = 0; outer < shape.outer; ++outer, x += image, out += image) {
    column_maxima<V>(x, largest, shape);
    fill<V>(total, 0, shape.inner);
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        const V exponential = exp_non_positive(lane.load(x + row + i) - lane.load(largest + i));
        lane.store(exponential, out + row + i);
        lane.store(lane.load(total + i) + exponential, total + i);
      });
    }
    for_each_vector<V>(shape.inner,
                       [=](std::int64_t i, auto lane) { lane.store(V(1) / lane.load(total + i), total + i); });
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        lane.store(lane.load(out + row + i) * lane.load(total + i), out + row + i);
      });
    }
  }
}

template <typename V>
void log_softmax_columns(const typename V::Element* x, typename V::Element* out, typename V::Element* largest,
                         typename V::Element* total, const ColumnsShape& shape) {
  const std::int64_t image = shape.classes * shape.inner;
  for (std::int64_t outer = 0; outer < shape.outer; ++outer, x += image, out += image) {
    column_maxima<V>(x, largest, shape);
    fill<V>(total, 0, shape.inner);
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        const V exponential = exp_non_positive(lane.load(x + row + i) - lane.load(largest + i));
        lane.store(lane.load(total + i) + exponential, total + i);
      });
    }
    for (std::int64_t i = 0; i < shape.inner; ++i) total[i] = std::log(total[i]);
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        lane.store(lane.load(x + row + i) - lane.load(largest + i) - lane.load(total + i), out + row + i);
      });
    }
  }
}

template <typename V>
void softmax_backward_columns(const typename V::Element* grad, const typename V::Element* y, typename V::Element* out,
                              typename V::Element* total, const ColumnsShape& shape) {
  const std::int64_t image = shape.classes * shape.inner;
  for (std::int64_t outer = 0; outer < shape.outer; ++outer, grad += image, y += image, out += image) {
    fill<V>(total, 0, shape.inner);
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        lane.store(fma(lane.load(grad + row + i), lane.load(y + row + i), lane.load(total + i)), total + i);
      });
    }
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        lane.store(lane.load(y + row + i) * (lane.load(grad + row + i) - lane.load(total + i)), out + row + i);
      });
    }
  }
}

template <typename V>
void log_softmax_backward_columns(const typename V::Element* grad, const typename V::Element* y,
                                  typename V::Element* out, typename V::Element* total, const ColumnsShape& shape) {
  const std::int64_t image = shape.classes * shape.inner;
  for (std::int64_t outer = 0; outer < shape.outer; ++outer, grad += image, y += image, out += image) {
    fill<V>(total, 0, shape.inner);
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        lane.store(lane.load(total + i) + lane.load(grad + row + i), total + i);
      });
    }
    for (std::int64_t row = 0; row < image; row += shape.inner) {
      for_each_vector<V>(shape.inner, [=](std::int64_t i, auto lane) {
        const V exponential = exp_non_positive(lane.load(y + row + i));
        lane.store(lane.load(grad + row + i) - exponential * lane.load(total + i), out + row + i);
      });
    }
  }
}

}  // namespace
}  // namespace dtrain
