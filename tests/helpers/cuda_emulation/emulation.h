// Runs the text of a CUDA kernel on the host: an emulation for tests, no GPU and no measure of speed.
//
// The threads of a block are fibers of one host thread that switch only at __syncthreads(), in rising or falling order;
// a kernel whose result depends on the order has a race. Blocks run one after another. What it checks beside: all
// threads of a block meet at every barrier, and the arguments given have the number, size and kind of the kernel's.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(threads)
#define __syncthreads() emulation::barrier()

using std::exp;
using std::log;
using std::pow;
using std::sqrt;

struct Dimension {
  unsigned int x;
};
static Dimension threadIdx, blockIdx, blockDim, gridDim;

inline float widen_f16(unsigned short bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return (float)value;
}

inline unsigned short round_f16(float value) {
  const _Float16 rounded = (_Float16)value;
  unsigned short bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  return bits;
}

inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  if (value < old) *address = value;
  return old;
}

inline unsigned long long atomicCAS(unsigned long long* address, unsigned long long compare, unsigned long long value) {
  const unsigned long long old = *address;
  if (old == compare) *address = value;
  return old;
}

namespace emulation {

constexpr int MAX_THREADS = 1024;
constexpr std::size_t STACK_BYTES = 32768;

enum Status { DONE = 0, DIVERGENT_BARRIER = 1, WRONG_NUMBER_OF_ARGUMENTS = 2, WRONG_ARGUMENT = 3 };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool is_done = false;
};

static ucontext_t scheduler;
static Fiber fibers[MAX_THREADS];
static Fiber* current = nullptr;
static std::function<void()> body;

inline void barrier() { swapcontext(&current->context, &scheduler); }

inline void run_fiber() {
  body();
  current->is_done = true;
  swapcontext(&current->context, &scheduler);
}

inline void prepare(Fiber& fiber) {
  if (!fiber.stack) fiber.stack.reset(new char[STACK_BYTES]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK_BYTES;
  fiber.context.uc_link = nullptr;
  fiber.is_done = false;
  makecontext(&fiber.context, run_fiber, 0);
}

// Every round runs each thread up to its next barrier or its end.
inline Status run_block(unsigned int threads, bool is_reversed) {
  for (unsigned int i = 0; i < threads; ++i) prepare(fibers[i]);
  for (;;) {
    unsigned int done = 0;
    for (unsigned int i = 0; i < threads; ++i) {
      threadIdx.x = is_reversed ? threads - 1 - i : i;
      current = &fibers[threadIdx.x];
      swapcontext(&scheduler, &current->context);
      done += current->is_done;
    }
    if (done == threads) return DONE;
    if (done != 0) return DIVERGENT_BARRIER;
  }
}

// What a Python argument is, so that a wrong one is found here and not as a wrong number on a GPU.
struct Argument {
  void* value;  // points at the argument, as for cuLaunchKernel
  int size;
  int kind;  // 0 pointer, 1 integer, 2 floating
};

template <typename Parameter>
bool matches(const Argument& argument) {
  const int kind = std::is_pointer<Parameter>::value ? 0 : std::is_integral<Parameter>::value ? 1 : 2;
  return argument.size == (int)sizeof(Parameter) && argument.kind == kind;
}

template <typename... Parameters, std::size_t... Index>
Status launch_with(void (*kernel)(Parameters...), unsigned int grid, unsigned int block, const Argument* arguments,
                   bool is_reversed, std::index_sequence<Index...>) {
  if (!(matches<Parameters>(arguments[Index]) && ...)) return WRONG_ARGUMENT;
  body = [=] { kernel(*(Parameters*)arguments[Index].value...); };
  gridDim.x = grid;
  blockDim.x = block;
  for (unsigned int i = 0; i < grid; ++i) {
    blockIdx.x = i;
    const Status status = run_block(block, is_reversed);
    if (status != DONE) return status;
  }
  return DONE;
}

template <typename... Parameters>
Status launch(void (*kernel)(Parameters...), unsigned int grid, unsigned int block, const Argument* arguments,
              int num_arguments, int is_reversed) {
  if (num_arguments != (int)sizeof...(Parameters)) return WRONG_NUMBER_OF_ARGUMENTS;
  return launch_with(kernel, grid, block, arguments, is_reversed != 0, std::index_sequence_for<Parameters...>());
}

}  // namespace emulation

// One per kernel: what ctypes calls.
#define EMULATE(NAME)                                                                                               \
  extern "C" int emulate_##NAME(unsigned int grid, unsigned int block, const emulation::Argument* arguments,       \
                                int num_arguments, int is_reversed) {                                              \
    return emulation::launch(NAME, grid, block, arguments, num_arguments, is_reversed);                            \
  }
