// The sums of batch norm over x[N,C,S], S the size of a plane: statistics (count, mean, M2) by Welford's update in a
// thread and Chan's merge between threads, of x less the channel's first element (so that a large offset costs no digits;
// never E[x²] − E[x]², which loses all of them), and the backward sums Σdy and Σdy·x̂. A channel is cut into `splits` parts, a block each, whose results are merged in order
// by a second kernel: the same bits in every run and on every GPU.
#include "block_reduce.cuh"

template <typename A>
struct Moments {
  A count, mean, m2;
};

struct MergeMoments {
  template <typename A>
  __device__ Moments<A> operator()(Moments<A> first, Moments<A> second) const {
    if (second.count == 0) return first;
    if (first.count == 0) return second;
    const A total = first.count + second.count, delta = second.mean - first.mean, share = second.count / total;
    return {total, first.mean + delta * share, first.m2 + second.m2 + delta * delta * (first.count * share)};
  }
};

// What one block found, and the shift that its mean is to be added to.
template <typename A>
struct PartMoments {
  Moments<A> moments;
  A shift;
};

template <typename A>
struct Sums {
  A grad, product;
};

struct AddSums {
  template <typename A>
  __device__ Sums<A> operator()(Sums<A> first, Sums<A> second) const {
    return {first.grad + second.grad, first.product + second.product};
  }
};

// One part of one channel: its elements j in [begin, end) of the channel's N·S.
struct Part {
  s64 channel, begin, end;

  __device__ Part(s64 job, s64 elements, int splits) {
    channel = quotient(job, splits);
    const s64 split = job - channel * splits;
    begin = elements * split / splits;
    end = elements * (split + 1) / splits;
  }

  // Where element j of this channel lies in x.
  __device__ s64 offset(s64 j, s64 channels, s64 plane) const {
    const s64 image = quotient(j, plane);
    return (image * channels + channel) * plane + (j - image * plane);
  }
};

template <typename T>
__device__ inline void part_statistics(const T* x, PartMoments<Accumulator<T>>* parts, s64 batch, s64 channels,
                                       s64 plane, int splits) {
  typedef Accumulator<T> A;
  __shared__ Moments<A> shared[BLOCK_SIZE];
  for (s64 job = blockIdx.x; job < channels * splits; job += gridDim.x) {
    const Part part(job, batch * plane, splits);
    const A shift = batch * plane > 0 ? widen(x[part.channel * plane]) : (A)0;
    Moments<A> mine = {0, 0, 0};
    for (s64 j = part.begin + threadIdx.x; j < part.end; j += blockDim.x) {
      const A value = (A)widen(x[part.offset(j, channels, plane)]) - shift;
      const A delta = value - mine.mean;
      mine.count += 1;
      mine.mean += delta / mine.count;
      mine.m2 += delta * (value - mine.mean);
    }
    const Moments<A> all = block_reduce(mine, MergeMoments(), shared);
    if (threadIdx.x == 0) parts[job] = {all, shift};
  }
}

// stats = [count | mean of C | M2 of C], from parts[C][splits].
template <typename A>
__device__ inline void merge_statistics(const PartMoments<A>* parts, A* stats, s64 elements, s64 channels, int splits) {
  if (grid_start() == 0) stats[0] = (A)elements;
  for (s64 channel = grid_start(); channel < channels; channel += grid_stride()) {
    const PartMoments<A>* mine = &parts[channel * splits];
    Moments<A> total = mine[0].moments;
    for (int split = 1; split < splits; ++split) total = MergeMoments()(total, mine[split].moments);
    stats[1 + channel] = mine[0].shift + total.mean;
    stats[1 + channels + channel] = total.m2;
  }
}

template <typename T>
__device__ inline void part_backward_sums(const T* dy, const T* x, const Accumulator<T>* mean,
                                          const Accumulator<T>* inverse_std, Sums<Accumulator<T>>* parts, s64 batch,
                                          s64 channels, s64 plane, int splits) {
  typedef Accumulator<T> A;
  __shared__ Sums<A> shared[BLOCK_SIZE];
  for (s64 job = blockIdx.x; job < channels * splits; job += gridDim.x) {
    const Part part(job, batch * plane, splits);
    const A center = mean[part.channel], scale = inverse_std[part.channel];
    Sums<A> mine = {0, 0};
    for (s64 j = part.begin + threadIdx.x; j < part.end; j += blockDim.x) {
      const s64 offset = part.offset(j, channels, plane);
      const A grad = widen(dy[offset]);
      mine.grad += grad;
      mine.product += grad * ((widen(x[offset]) - center) * scale);
    }
    const Sums<A> all = block_reduce(mine, AddSums(), shared);
    if (threadIdx.x == 0) parts[job] = all;
  }
}

// Σdy and Σdy·x̂ of each channel, from parts[C][splits].
template <typename A>
__device__ inline void merge_backward_sums(const Sums<A>* parts, A* grad_sums, A* product_sums, s64 channels,
                                           int splits) {
  for (s64 channel = grid_start(); channel < channels; channel += grid_stride()) {
    Sums<A> total = parts[channel * splits];
    for (int split = 1; split < splits; ++split) total = AddSums()(total, parts[channel * splits + split]);
    grad_sums[channel] = total.grad;
    product_sums[channel] = total.product;
  }
}

#define BATCH_NORM_REDUCE(TAG, T)                                                                                \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_statistics_##TAG(                                 \
      const T* x, PartMoments<Accumulator<T>>* parts, s64 batch, s64 channels, s64 plane, int splits) {              \
    part_statistics<T>(x, parts, batch, channels, plane, splits);                                                \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_backward_sums_##TAG(                              \
      const T* dy, const T* x, const Accumulator<T>* mean, const Accumulator<T>* inverse_std,                    \
      Sums<Accumulator<T>>* parts, s64 batch, s64 channels, s64 plane, int splits) {                             \
    part_backward_sums<T>(dy, x, mean, inverse_std, parts, batch, channels, plane, splits);                      \
  }

#define BATCH_NORM_MERGE(TAG, A)                                                                                 \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_statistics_merge_##TAG(                           \
      const PartMoments<A>* parts, A* stats, s64 elements, s64 channels, int splits) {                               \
    merge_statistics<A>(parts, stats, elements, channels, splits);                                               \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256) batch_norm_backward_sums_merge_##TAG(                        \
      const Sums<A>* parts, A* grad_sums, A* product_sums, s64 channels, int splits) {                           \
    merge_backward_sums<A>(parts, grad_sums, product_sums, channels, splits);                                    \
  }

BATCH_NORM_REDUCE(f16, f16)
BATCH_NORM_REDUCE(bf16, bf16)
BATCH_NORM_REDUCE(f32, float)
BATCH_NORM_REDUCE(f64, double)
BATCH_NORM_MERGE(f32, float)
BATCH_NORM_MERGE(f64, double)
