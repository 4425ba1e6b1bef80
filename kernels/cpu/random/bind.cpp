#include "binding/table.h"
#include "random/random.h"

namespace dtrain {
namespace {

RandomStream read_stream(Call& call) {
  const auto state = call.input<std::int64_t>(0, 1);
  call.expect(state.size == 2, "a state of (key, offset)");
  return {static_cast<std::uint64_t>(state.data[0]), static_cast<std::uint64_t>(state.data[1])};
}

// The state behind a draw; it may lie in the memory of the old one.
void write_stream(Call& call, RandomStream stream, std::int64_t blocks) {
  const auto state = call.output<std::int64_t>(1, 1);
  call.expect(state.size == 2, "a new state of (key, offset)");
  state.data[0] = static_cast<std::int64_t>(stream.key);
  state.data[1] = static_cast<std::int64_t>(stream.offset) + blocks;
}

template <typename T>
void bind_random_uniform(Call& call, random_uniform_fn<T>* kernel) {
  const RandomStream stream = read_stream(call);
  const auto out = call.output<T>(0);
  const double low = call.number("low"), high = call.number("high");
  std::int64_t blocks;
  {
    ReleaseGil unlocked(out.size * sizeof(T));
    blocks = kernel(stream, low, high, out.data, out.size);
  }
  write_stream(call, stream, blocks);
}

template <typename T>
void bind_random_normal(Call& call, random_normal_fn<T>* kernel) {
  const RandomStream stream = read_stream(call);
  const auto out = call.output<T>(0);
  const double mean = call.number("mean"), std = call.number("std");
  std::int64_t blocks;
  {
    ReleaseGil unlocked(out.size * sizeof(T));
    blocks = kernel(stream, mean, std, out.data, out.size);
  }
  write_stream(call, stream, blocks);
}

template <typename T>
void bind_random_dropout_mask(Call& call, random_dropout_mask_fn<T>* kernel) {
  const RandomStream stream = read_stream(call);
  const auto out = call.output<T>(0);
  const double p = call.number("p");
  std::int64_t blocks;
  {
    ReleaseGil unlocked(out.size * sizeof(T));
    blocks = kernel(stream, p, out.data, out.size);
  }
  write_stream(call, stream, blocks);
}

}  // namespace

void add_random(Table& table) {
#define KERNEL DTRAIN_ADD_ROW
#include "random/kernels.inc"
#undef KERNEL
}

}  // namespace dtrain
