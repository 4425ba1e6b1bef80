#include "binding/share.h"
#include "binding/table.h"
#include "random/random.h"

namespace dtrain {
namespace {

// Draws into output 0 from the stream that input 0 describes; output 1, which may be input 0, is the stream behind it.
// A block gives `values_a_block`; `run(stream, out, n)` draws some of the values.
template <typename T, int values_a_block, typename Run>
void draw(Call& call, Run run) {
  static_assert(kElementsTogether % values_a_block == 0, "parts begin with whole blocks");
  const auto state = call.input<std::int64_t>(0, 1);
  const auto values = call.output<T>(0);
  const auto behind = call.output<std::int64_t>(1, 1);
  call.expect(state.size == 2 && behind.size == 2, "states of (key, offset)");
  const RandomStream stream{static_cast<std::uint64_t>(state.data[0]), static_cast<std::uint64_t>(state.data[1])};
  const std::int64_t blocks = (values.size + values_a_block - 1) / values_a_block;
  {
    const std::int64_t bytes = values.size * sizeof(T);
    ReleaseGil unlocked(bytes);
    share_elements(values.size, 8 * bytes, [&](std::int64_t first, std::int64_t size) {
      const std::uint64_t before = static_cast<std::uint64_t>(first / values_a_block);
      run(RandomStream{stream.key, stream.offset + before}, values.data + first, size);
    });
  }
  behind.data[0] = static_cast<std::int64_t>(stream.key);
  behind.data[1] = static_cast<std::int64_t>(stream.offset) + blocks;
}

template <typename T>
void bind_uniform(Call& call, uniform_fn<T>* kernel) {
  const double low = call.number("low"), high = call.number("high");
  draw<T, per_block<T>>(call, [=](RandomStream stream, T* out, std::int64_t n) { kernel(stream, low, high, out, n); });
}

template <typename T>
void bind_normal(Call& call, normal_fn<T>* kernel) {
  const double mean = call.number("mean"), std = call.number("std");
  draw<T, per_block<T>>(call, [=](RandomStream stream, T* out, std::int64_t n) { kernel(stream, mean, std, out, n); });
}

template <typename T>
void bind_dropout_mask(Call& call, dropout_mask_fn<T>* kernel) {
  const double p = call.number("p");
  draw<T, per_block<float>>(call, [=](RandomStream stream, T* out, std::int64_t n) { kernel(stream, p, out, n); });
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY random
#define DTRAIN_KERNELS "random/kernels.inc"
#include "binding/rows.h"
