#include "formula/formula.h"

#include <array>

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

template <typename Arguments>
struct Reader;

template <int count, const char*... names>
struct Reader<Arguments<count, names...>> {
  template <typename T>
  static auto bind(Call& call, elementwise_fn<T>* kernel) {
    const auto out = call.output<T>();
    std::array<const T*, count> inputs;
    for (int i = 0; i < count; ++i) {
      const auto input = call.input<T>(i);
      call.expect(input.size == out.size, count == 1 ? "x and out of one size" : "inputs and out of one size");
      inputs[i] = input.data;
    }
    const std::array<T, sizeof...(names)> parameters{static_cast<T>(call.number(names))...};
    return [=] {
      const std::int64_t bytes = out.size * sizeof(T);
      ReleaseGil unlocked(bytes);
      share_elements(out.size, (count + 1) * bytes, [&](std::int64_t first, std::int64_t size) {
        std::array<const T*, count> from = inputs;
        for (const T*& input : from) input += first;
        kernel(from.data(), out.data + first, size, parameters.data());
      });
    };
  }
};

}  // namespace
}  // namespace dtrain

// A kernel's arguments choose its reader.
#define DTRAIN_READER(op) Reader<op##_arguments>::bind
#define DTRAIN_FAMILY formula
#define DTRAIN_KERNELS "formula/kernels.inc"
#include "binding/rows.h"
