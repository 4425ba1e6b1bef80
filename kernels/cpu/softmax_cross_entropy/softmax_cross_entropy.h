// Softmax and cross entropy with label smoothing, row by row.
//
// Shapes: logits, probabilities, dlogits [rows][classes]; targets, losses, grad [rows]. Targets lie in [0, classes).
#pragma once

#include <cstdint>

namespace dtrain {

struct CrossEntropyShape {
  std::int64_t rows;
  std::int64_t classes;
  double label_smoothing;
};

template <typename T>
using softmax_cross_entropy_fn = void(const T* logits, const std::int64_t* targets, T* losses, T* probabilities,
                                      const CrossEntropyShape& shape);

template <typename T>
using softmax_cross_entropy_backward_fn = void(const T* grad, const T* probabilities, const std::int64_t* targets,
                                               T* dlogits, const CrossEntropyShape& shape);

}  // namespace dtrain
