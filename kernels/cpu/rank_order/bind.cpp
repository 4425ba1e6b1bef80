#include "rank_order/rank_order.h"

#include <cstring>
#include <type_traits>
#include <vector>

#include "binding/table.h"

namespace dtrain {
namespace {

template <typename T>
constexpr bool is_integer = std::is_integral_v<T>;

template <typename T>
Reduction read_reduction(Call& call) {
  const char* name = call.text("op");
  if (std::strcmp(name, "sum") == 0) return Reduction::sum;
  if (std::strcmp(name, "prod") == 0) return Reduction::prod;
  if (std::strcmp(name, "min") == 0) return Reduction::min;
  if (std::strcmp(name, "max") == 0) return Reduction::max;
  if (std::strcmp(name, "mean") == 0 && !is_integer<T>) return Reduction::mean;
  if (std::strcmp(name, "weighted") == 0 && !is_integer<T>) return Reduction::weighted;
  call.fail(PyExc_ValueError, std::string("op one of sum, mean (floats only), prod, min, max, got '") + name + "'");
}

// An array of weight zero says nothing, whatever it holds: 0 · NaN would be NaN.
template <typename T>
void drop_weightless(std::vector<const T*>& arrays, std::vector<double>& weights) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (weights[i] == 0.0) continue;
    arrays[kept] = arrays[i];
    weights[kept++] = weights[i];
  }
  arrays.resize(kept);
  weights.resize(kept);
}

template <typename T>
void bind_rank_order_reduce(Call& call, rank_order_reduce_fn<T>* kernel) {
  const Reduction reduction = read_reduction<T>(call);
  const auto out = call.output<T>();
  std::vector<const T*> arrays(static_cast<std::size_t>(call.num_inputs()));
  call.expect(!arrays.empty(), "at least one array");
  for (int i = 0; i < call.num_inputs(); ++i) {
    const auto array = call.input<T>(i);
    call.expect(array.size == out.size, "arrays of one size");
    arrays[i] = array.data;
  }
  std::vector<double> weights;
  if (reduction == Reduction::weighted) {
    weights = call.numbers("weights", call.num_inputs());
    drop_weightless(arrays, weights);
  }
  ReleaseGil unlocked(out.size * sizeof(T) * arrays.size());
  kernel(arrays.data(), static_cast<int>(arrays.size()), weights.data(), out.data, out.size, reduction);
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY rank_order
#define DTRAIN_KERNELS "rank_order/kernels.inc"
#include "binding/rows.h"
