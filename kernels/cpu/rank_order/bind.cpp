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
  call.fail(PyExc_ValueError, std::string("op one of sum, mean (floats only), prod, min, max, got '") + name + "'");
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
  ReleaseGil unlocked(out.size * sizeof(T) * arrays.size());
  kernel(arrays.data(), call.num_inputs(), out.data, out.size, reduction);
}

}  // namespace

void add_rank_order(Table& table) {
#define KERNEL DTRAIN_ADD_ROW
#include "rank_order/kernels.inc"
#undef KERNEL
}

}  // namespace dtrain
