// Optimizer updates of many tensors in one launch.
//
// `addresses` holds num_groups rows of num_tensors addresses: old parameters, gradients, old state, new parameters, new
// state (0 where a group does not exist). `chunks` holds num_chunks rows [tensor, first element, end], which cut all
// tensors into pieces of about equal size, so that a block has the same work whatever the sizes of the tensors.
#include "element.cuh"

struct Chunk {
  s64 tensor, first, end;
};

template <typename T>
__device__ inline T* array_of(const s64* addresses, s64 group, s64 num_tensors, s64 tensor) {
  return (T*)addresses[group * num_tensors + tensor];
}

// g = grad + weight_decay·p; b = momentum·b + (1 − dampening)·g; p −= lr · (g + momentum·b if nesterov else b).
template <typename T>
__device__ inline void sgd_update(const s64* addresses, s64 num_tensors, const Chunk* chunks, s64 num_chunks,
                                  const void* lr, int lr_is_f64, double momentum, double dampening,
                                  double weight_decay, int nesterov) {
  typedef Accumulator<T> A;
  const A rate = (A)load_scalar(lr, lr_is_f64), kept = (A)momentum, added = (A)(1 - dampening);
  for (s64 c = blockIdx.x; c < num_chunks; c += gridDim.x) {
    const Chunk chunk = chunks[c];
    const T* param = array_of<const T>(addresses, 0, num_tensors, chunk.tensor);
    const T* grad = array_of<const T>(addresses, 1, num_tensors, chunk.tensor);
    const T* buffer = array_of<const T>(addresses, 2, num_tensors, chunk.tensor);
    T* new_param = array_of<T>(addresses, 3, num_tensors, chunk.tensor);
    T* new_buffer = array_of<T>(addresses, 4, num_tensors, chunk.tensor);
    for (s64 i = chunk.first + threadIdx.x; i < chunk.end; i += blockDim.x) {
      const A old = widen(param[i]);
      A direction = widen(grad[i]);
      if (weight_decay != 0) direction = direction + (A)weight_decay * old;
      if (momentum != 0) {
        const A state = kept * (A)widen(buffer[i]) + added * direction;
        direction = nesterov ? direction + kept * state : state;
        store(&new_buffer[i], state);
      }
      store(&new_param[i], old - rate * direction);
    }
  }
}

// m = β1·m + (1 − β1)·g; v = β2·v + (1 − β2)·g²; p −= lr/(1 − β1ᵗ) · m / (√v/√(1 − β2ᵗ) + eps), t = step + 1.
// Weight decay adds weight_decay·p to g, or, decoupled, first scales p by 1 − lr·weight_decay.
template <typename T>
__device__ inline void adam_update(const s64* addresses, s64 num_tensors, const Chunk* chunks, s64 num_chunks,
                                   const void* lr, int lr_is_f64, const s64* step, double beta1, double beta2,
                                   double eps, double weight_decay, int decoupled) {
  typedef Accumulator<T> A;
  __shared__ double corrections[2];
  const double full_rate = load_scalar(lr, lr_is_f64);
  if (threadIdx.x == 0) {
    // Powers of f64 are dear on most GPUs: one thread a block.
    const double now = (double)(*step + 1);
    corrections[0] = full_rate / (1 - pow(beta1, now));
    corrections[1] = sqrt(1 - pow(beta2, now));
  }
  __syncthreads();
  const A rate = (A)corrections[0], correction = (A)corrections[1];
  const A decay = (A)1 - (A)full_rate * (A)weight_decay;
  for (s64 c = blockIdx.x; c < num_chunks; c += gridDim.x) {
    const Chunk chunk = chunks[c];
    const T* param = array_of<const T>(addresses, 0, num_tensors, chunk.tensor);
    const T* grad = array_of<const T>(addresses, 1, num_tensors, chunk.tensor);
    const T* average = array_of<const T>(addresses, 2, num_tensors, chunk.tensor);
    const T* square = array_of<const T>(addresses, 3, num_tensors, chunk.tensor);
    T* new_param = array_of<T>(addresses, 4, num_tensors, chunk.tensor);
    T* new_average = array_of<T>(addresses, 5, num_tensors, chunk.tensor);
    T* new_square = array_of<T>(addresses, 6, num_tensors, chunk.tensor);
    for (s64 i = chunk.first + threadIdx.x; i < chunk.end; i += blockDim.x) {
      A old = widen(param[i]), gradient = widen(grad[i]);
      if (weight_decay != 0 && decoupled) old = old * decay;
      if (weight_decay != 0 && !decoupled) gradient = gradient + (A)weight_decay * old;
      const A first = (A)beta1 * (A)widen(average[i]) + (A)(1 - beta1) * gradient;
      const A second = (A)beta2 * (A)widen(square[i]) + (A)(1 - beta2) * gradient * gradient;
      store(&new_param[i], old - rate * first / (sqrt(second) / correction + (A)eps));
      store(&new_average[i], first);
      store(&new_square[i], second);
    }
  }
}

#define OPTIMIZER_UPDATES(TAG, T)                                                                                \
  extern "C" __global__ void __launch_bounds__(256) sgd_update_##TAG(                                            \
      const s64* addresses, s64 num_tensors, const Chunk* chunks, s64 num_chunks, const void* lr, int lr_is_f64, \
      double momentum, double dampening, double weight_decay, int nesterov) {                                    \
    sgd_update<T>(addresses, num_tensors, chunks, num_chunks, lr, lr_is_f64, momentum, dampening, weight_decay,  \
                  nesterov);                                                                                     \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) adam_update_##TAG(                                           \
      const s64* addresses, s64 num_tensors, const Chunk* chunks, s64 num_chunks, const void* lr, int lr_is_f64, \
      const s64* step, double beta1, double beta2, double eps, double weight_decay, int decoupled) {             \
    adam_update<T>(addresses, num_tensors, chunks, num_chunks, lr, lr_is_f64, step, beta1, beta2, eps,           \
                   weight_decay, decoupled);                                                                     \
  }

OPTIMIZER_UPDATES(f16, f16)
OPTIMIZER_UPDATES(bf16, bf16)
OPTIMIZER_UPDATES(f32, float)
OPTIMIZER_UPDATES(f64, double)
