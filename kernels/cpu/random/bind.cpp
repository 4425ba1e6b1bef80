#include "binding/table.h"
#include "random/random.h"

namespace dtrain {
namespace {

// Draws into output 0 from the stream that input 0 describes; output 1, which may be input 0, is the stream behind it.
// `run(stream, values)` returns how many blocks it used up.
template <typename T, typename Run>
void draw(Call& call, Run run) {
  const auto state = call.input<std::int64_t>(0, 1);
  const auto values = call.output<T>(0);
  const auto behind = call.output<std::int64_t>(1, 1);
  call.expect(state.size == 2 && behind.size == 2, "states of (key, offset)");
  const RandomStream stream{static_cast<std::uint64_t>(state.data[0]), static_cast<std::uint64_t>(state.data[1])};
  std::int64_t blocks;
  {
    ReleaseGil unlocked(values.size * sizeof(T));
    blocks = run(stream, values);
  }
  behind.data[0] = static_cast<std::int64_t>(stream.key);
  behind.data[1] = static_cast<std::int64_t>(stream.offset) + blocks;
}

template <typename T>
void bind_uniform(Call& call, uniform_fn<T>* kernel) {
  const double low = call.number("low"), high = call.number("high");
  draw<T>(call, [=](RandomStream stream, Array<T> out) { return kernel(stream, low, high, out.data, out.size); });
}

template <typename T>
void bind_normal(Call& call, normal_fn<T>* kernel) {
  const double mean = call.number("mean"), std = call.number("std");
  draw<T>(call, [=](RandomStream stream, Array<T> out) { return kernel(stream, mean, std, out.data, out.size); });
}

template <typename T>
void bind_dropout_mask(Call& call, dropout_mask_fn<T>* kernel) {
  const double p = call.number("p");
  draw<T>(call, [=](RandomStream stream, Array<T> out) { return kernel(stream, p, out.data, out.size); });
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY random
#define DTRAIN_KERNELS "random/kernels.inc"
#include "binding/rows.h"
