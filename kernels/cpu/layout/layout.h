// Images into blocks of channels and back: x [N][C][P], P pixels, and blocked [N][CB][P][B], where channel c is lane
// c mod B of block c / B. Lanes of the last block beyond C are padding: written as 0, never read.
#pragma once

#include <cstdint>

namespace dtrain {

// Channels that lie together in kernels' own workspaces, whatever the vectors: f32 of AVX-512.
constexpr int kBlock = 16;

struct LayoutShape {
  std::int64_t batch, channels, pixels, block;
  bool to_blocks;
};

// From x to blocked if `to_blocks`, else the other way.
template <typename T>
using relayout_fn = void(const T* from, T* to, const LayoutShape& shape);

}  // namespace dtrain
