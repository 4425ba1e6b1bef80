#include "softmax_cross_entropy/softmax_cross_entropy.h"

#include <vector>

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// Targets as s64 inside [0, classes), converted into `storage` where they come as s32.
const std::int64_t* read_targets(Call& call, int index, const CrossEntropyShape& shape,
                                 std::vector<std::int64_t>& storage) {
  const std::int64_t* targets = nullptr;
  if (call.input_is(index, &Element<std::int32_t>::is)) {
    const auto narrow = call.input<std::int32_t>(index, 1);
    storage.assign(narrow.data, narrow.data + narrow.size);
    targets = storage.data();
    call.expect(narrow.size == shape.rows, "one target a row");
  } else {
    const auto wide = call.input<std::int64_t>(index, 1);
    targets = wide.data;
    call.expect(wide.size == shape.rows, "one target a row");
  }
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    if (targets[row] < 0 || targets[row] >= shape.classes) {
      const std::string range = "targets from 0 to " + std::to_string(shape.classes - 1);
      const std::string given = ", got " + std::to_string(targets[row]);
      call.fail(PyExc_ValueError, range + given + "; check the labels (ignore_index= leaves some out), and the size of the last layer");
    }
  }
  return targets;
}

template <typename T>
void bind_softmax_cross_entropy(Call& call, softmax_cross_entropy_fn<T>* kernel) {
  const auto logits = call.input<T>(0, 2);
  const auto losses = call.output<T>(0, 1), probabilities = call.output<T>(1, 2);
  const CrossEntropyShape shape{logits.shape[0], logits.shape[1], call.number("label_smoothing")};
  call.expect(losses.size == shape.rows && probabilities.size == logits.size, "losses[N] and probabilities[N,C]");
  std::vector<std::int64_t> storage;
  const std::int64_t* targets = read_targets(call, 1, shape, storage);
  const std::int64_t bytes = logits.size * sizeof(T) * 4;
  ReleaseGil unlocked(bytes);
  share(shape.rows, bytes, [&](Range rows, std::int64_t) {
    const std::int64_t first = rows.begin * shape.classes;
    kernel(logits.data + first, targets + rows.begin, losses.data + rows.begin, probabilities.data + first,
           {rows.end - rows.begin, shape.classes, shape.label_smoothing});
  });
}

template <typename T>
void bind_softmax_cross_entropy_backward(Call& call, softmax_cross_entropy_backward_fn<T>* kernel) {
  const auto grad = call.input<T>(0, 1), probabilities = call.input<T>(1, 2);
  const auto dlogits = call.output<T>(0, 2);
  const CrossEntropyShape shape{probabilities.shape[0], probabilities.shape[1], call.number("label_smoothing")};
  call.expect(grad.size == shape.rows && dlogits.size == probabilities.size, "grad[N] and dlogits[N,C]");
  std::vector<std::int64_t> storage;
  const std::int64_t* targets = read_targets(call, 2, shape, storage);
  const std::int64_t bytes = dlogits.size * sizeof(T);
  ReleaseGil unlocked(bytes);
  share(shape.rows, 2 * bytes, [&](Range rows, std::int64_t) {
    const std::int64_t first = rows.begin * shape.classes;
    kernel(grad.data + rows.begin, probabilities.data + first, targets + rows.begin, dlogits.data + first,
           {rows.end - rows.begin, shape.classes, shape.label_smoothing});
  });
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY softmax_cross_entropy
#define DTRAIN_KERNELS "softmax_cross_entropy/kernels.inc"
#include "binding/rows.h"
