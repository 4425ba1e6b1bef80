#include "optimizer/optimizer.h"

#include <cmath>
#include <vector>

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// The groups of a step: `groups` lists of num_tensors inputs after `first`, and the outputs that update some of them.
template <typename T>
class TensorGroups {
 public:
  TensorGroups(Call& call, int first, int groups, int first_output, int output_groups)
      : count_(static_cast<int>(call.integer("num_tensors"))) {
    call.expect(count_ >= 0 && call.num_inputs() == first + groups * count_, "num_tensors inputs in each group");
    for (int i = 0; i < groups * count_; ++i) {
      const auto array = call.input<T>(first + i);
      if (i < count_) sizes_.push_back(array.size);
      call.expect(array.size == sizes_[i % count_], "a gradient and state of each parameter's size");
      inputs_.push_back(array.data);
    }
    for (int i = 0; i < output_groups * count_; ++i) {
      const auto array = call.output<T>(first_output + i);
      call.expect(array.size == sizes_[i % count_], "outputs of each parameter's size");
      outputs_.push_back(array.data);
    }
    for (const std::int64_t size : sizes_) total_ += size;
  }

  int count() const { return count_; }
  std::int64_t size(int i) const { return sizes_[i]; }
  std::int64_t total() const { return total_; }
  const T* input(int group, int i) const { return inputs_[group * count_ + i]; }
  T* output(int group, int i) const { return outputs_[group * count_ + i]; }

 private:
  int count_;
  std::int64_t total_ = 0;
  std::vector<std::int64_t> sizes_;
  std::vector<const T*> inputs_;
  std::vector<T*> outputs_;
};

template <typename T>
auto bind_sgd_update(Call& call, sgd_update_fn<T>* kernel) {
  const double momentum = call.number("momentum");
  const bool has_buffers = momentum != 0.0;
  const Scalar lr = call.scalar_input(0);
  const SgdSettings<T> fixed{T(0), static_cast<T>(momentum), static_cast<T>(call.number("dampening")),
                             static_cast<T>(call.number("weight_decay")), call.flag("nesterov")};
  return [=, tensors = TensorGroups<T>(call, 1, has_buffers ? 3 : 2, 0, has_buffers ? 2 : 1)] {
    SgdSettings<T> settings = fixed;
    settings.lr = static_cast<T>(lr.value());
    ReleaseGil unlocked(tensors.total() * sizeof(T));
    for (int i = 0; i < tensors.count(); ++i) {
      share_elements(tensors.size(i), 4 * tensors.size(i) * sizeof(T), [&](std::int64_t first, std::int64_t size) {
        kernel(tensors.input(0, i) + first, tensors.input(1, i) + first,
               has_buffers ? tensors.input(2, i) + first : nullptr, tensors.output(0, i) + first,
               has_buffers ? tensors.output(1, i) + first : nullptr, size, settings);
      });
    }
  };
}

// What a call says of a step; its settings also depend on the rate and on how many there were.
struct AdamAttributes {
  double beta1, beta2, eps, weight_decay;
  bool decoupled;
};

template <typename T>
AdamSettings<T> adam_settings(const AdamAttributes& given, double lr, std::int64_t step) {
  const double correction1 = 1 - std::pow(given.beta1, static_cast<double>(step));
  const double correction2 = std::sqrt(1 - std::pow(given.beta2, static_cast<double>(step)));
  return {static_cast<T>(lr / correction1),
          static_cast<T>(correction2),
          static_cast<T>(given.beta1),
          static_cast<T>(1 - given.beta1),
          static_cast<T>(given.beta2),
          static_cast<T>(1 - given.beta2),
          static_cast<T>(given.eps),
          static_cast<T>(given.decoupled ? 0.0 : given.weight_decay),
          static_cast<T>(given.decoupled ? 1 - lr * given.weight_decay : 1.0)};
}

template <typename T>
auto bind_adam_update(Call& call, adam_update_fn<T>* kernel) {
  const std::int64_t* steps = call.input<std::int64_t>(1, 0).data;
  std::int64_t* new_steps = call.output<std::int64_t>(0, 0).data;
  const Scalar lr = call.scalar_input(0);
  const AdamAttributes given{call.number("beta1"), call.number("beta2"), call.number("eps"),
                             call.number("weight_decay"), call.flag("decoupled")};
  return [=, tensors = TensorGroups<T>(call, 2, 4, 1, 3)] {
    const std::int64_t step = *steps + 1;
    const AdamSettings<T> settings = adam_settings<T>(given, lr.value(), step);
    *new_steps = step;
    ReleaseGil unlocked(tensors.total() * sizeof(T));
    for (int i = 0; i < tensors.count(); ++i) {
      share_elements(tensors.size(i), 7 * tensors.size(i) * sizeof(T), [&](std::int64_t first, std::int64_t size) {
        const AdamState<T> updated{tensors.output(0, i) + first, tensors.output(1, i) + first,
                                   tensors.output(2, i) + first};
        kernel(tensors.input(0, i) + first, tensors.input(1, i) + first, tensors.input(2, i) + first,
               tensors.input(3, i) + first, updated, size, settings);
      });
    }
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY optimizer
#define DTRAIN_KERNELS "optimizer/kernels.inc"
#include "binding/rows.h"
