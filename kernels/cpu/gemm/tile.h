// The building block of matrix products: a tile of C in registers, over operands that lie in blocks of 16.
//
//   C[r][n] (+)= Σ_k A[r][k] · B[k][n]       r < ROWS, n < 16 · BLOCKS
//
// B and C have their columns in blocks: [block][k][16] and [block][row][16]; rows of C may lie further apart. A
// is read one number at a time, from one of three orders, so that the same images serve as A and as B, and a product may
// sum over channels or over pixels:
//
//   AlongBlocks   A = [k / 16][row][16]   the sum runs along the 16, over blocks that lie anywhere
//   AcrossBlocks  A = [k][16]             the rows are the 16; k runs over pixels, row by row of an image
//   AtOffsets     A = a table of places   the rows lie side by side at each: outputs of a row of an image
//
// Whoever packs A into tiles has an order of his own (convolution/pointwise.h).
//
// All distances inside a tile are constants, which become displacements of instructions: a tile of 14 rows needs one
// pointer and not 14. The register tile is that of Goto and van de Geijn (2008); to sum over blocks that lie anywhere is
// the batch-reduce form of Georganas et al. (2020).
#pragma once

#include <cstdint>

#include "layout/layout.h"

#define DTRAIN_UNROLL _Pragma("GCC unroll 16")

namespace dtrain {
namespace {

// Each `walk` calls step(at) for k = 0, 1, …: row r of the tile is at[r · kApart].
template <typename T>
struct AlongBlocks {
  static constexpr int kApart = kBlock;
  const T* at;
  std::int64_t jump, blocks;

  AlongBlocks from_row(std::int64_t row) const { return {at + row * kApart, jump, blocks}; }
  template <typename Step>
  __attribute__((always_inline)) void walk(const Step& step) const {
    const T* from = at;
    for (std::int64_t block = 0; block < blocks; ++block, from += jump) {
      for (int k = 0; k < kBlock; ++k) step(from + k);
    }
  }
};

template <typename T>
struct AcrossBlocks {
  static constexpr int kApart = 1;
  const T* at;
  std::int64_t length;                                // numbers of a run, 16 apart
  std::int64_t runs = 1, jump = 0;                    // of an image
  std::int64_t images = 1, image_jump = 0;

  AcrossBlocks from_row(std::int64_t row) const { return {at + row, length, runs, jump, images, image_jump}; }
  template <typename Step>
  __attribute__((always_inline)) void walk(const Step& step) const {
    for (std::int64_t image = 0; image < images; ++image) {
      const T* begin = at + image * image_jump;
      for (std::int64_t run = 0; run < runs; ++run, begin += jump) {
        const T* from = begin;
        for (std::int64_t k = 0; k < length; ++k, from += kBlock) step(from);
      }
    }
  }
};

template <typename T>
struct AtOffsets {
  static constexpr int kApart = 1;
  const T* at;
  const std::int64_t* offsets;
  std::int64_t count;

  AtOffsets from_row(std::int64_t row) const { return {at + row, offsets, count}; }
  template <typename Step>
  __attribute__((always_inline)) void walk(const Step& step) const {
    for (std::int64_t k = 0; k < count; ++k) step(at + offsets[k]);
  }
};

// How much of the registers a tile takes: accumulators, one row of B, and one number of A in all lanes.
template <typename V>
struct RegisterTile {
  static constexpr int vectors = kBlock / V::width;                // in a block
  static constexpr int registers = sizeof(V) == 64 ? 32 : 16;      // AVX-512 has twice as many
  static constexpr int blocks = vectors == 1 ? 2 : 1;              // two loads of B a row at least
  static constexpr int rows = (registers - 2) / (vectors * blocks) - 1 > 0 ? (registers - 2) / (vectors * blocks) - 1 : 1;
};

template <typename V, int ROWS, int BLOCKS, typename A>
__attribute__((always_inline)) inline void multiply_tile(const A& a, const typename V::Element* b, std::int64_t b_jump,
                                             typename V::Element* c, std::int64_t c_jump, bool adds,
                                             std::int64_t c_apart = kBlock) {
  using T = typename V::Element;
  constexpr int kVectors = kBlock / V::width;
  V sum[ROWS][BLOCKS * kVectors];
  DTRAIN_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) sum[r][v] = V::zero();
  }
  a.walk([&](const T* at) __attribute__((always_inline)) {
    V columns[BLOCKS * kVectors];
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) {
      columns[v] = V::load(b + v / kVectors * b_jump + v % kVectors * V::width);
    }
    DTRAIN_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const V number(at[r * A::kApart]);
      DTRAIN_UNROLL
      for (int v = 0; v < BLOCKS * kVectors; ++v) sum[r][v] = fma(number, columns[v], sum[r][v]);
    }
    b += kBlock;
  });
  DTRAIN_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) {
      T* to = c + v / kVectors * c_jump + r * c_apart + v % kVectors * V::width;
      (adds ? sum[r][v] + V::load(to) : sum[r][v]).store(to);
    }
  }
}

// A tile of at most RegisterTile<V>::rows rows: one function for each count, so that each has its loops unrolled.
template <typename V, int BLOCKS, int ROWS = RegisterTile<V>::rows, typename A>
inline void multiply_rows(int rows, const A& a, const typename V::Element* b, std::int64_t b_jump,
                          typename V::Element* c, std::int64_t c_jump, bool adds, std::int64_t c_apart = kBlock) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) {
      multiply_tile<V, ROWS, BLOCKS>(a, b, b_jump, c, c_jump, adds, c_apart);
    } else {
      multiply_rows<V, BLOCKS, ROWS - 1>(rows, a, b, b_jump, c, c_jump, adds, c_apart);
    }
  }
}

// The same over the most blocks that a tile takes, or over one, which is what is left of them.
template <typename V, typename A>
inline void multiply_blocks(int rows, int blocks, const A& a, const typename V::Element* b, std::int64_t b_jump,
                            typename V::Element* c, std::int64_t c_jump, bool adds, std::int64_t c_apart = kBlock) {
  constexpr int kBlocks = RegisterTile<V>::blocks;
  if (blocks == kBlocks) {
    multiply_rows<V, kBlocks>(rows, a, b, b_jump, c, c_jump, adds, c_apart);
  } else {
    multiply_rows<V, 1>(rows, a, b, b_jump, c, c_jump, adds, c_apart);
  }
}

// How many of `rows` rows the next tile takes, `row` of them having been taken by `tile` of `tiles`: even parts, since a
// tile of two rows leaves the multipliers waiting.
inline int rows_of_tile(std::int64_t rows, std::int64_t tiles, std::int64_t tile, std::int64_t row) {
  return static_cast<int>((rows - row + tiles - tile - 1) / (tiles - tile));
}

// [rows][16 · column_blocks] in tiles. A function of its own, so that what surrounds a call takes no registers from the loops.
template <typename V, typename A>
__attribute__((noinline)) void multiply(std::int64_t rows, std::int64_t column_blocks, const A& a, const typename V::Element* b,
              std::int64_t b_jump, typename V::Element* c, std::int64_t c_jump, bool adds) {
  constexpr int kRows = RegisterTile<V>::rows, kBlocks = RegisterTile<V>::blocks;
  const std::int64_t tiles = (rows + kRows - 1) / kRows;
  for (std::int64_t block = 0; block < column_blocks; block += kBlocks) {
    const int blocks = column_blocks - block < kBlocks ? 1 : kBlocks;
    std::int64_t row = 0;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const int count = rows_of_tile(rows, tiles, tile, row);
      multiply_blocks<V>(count, blocks, a.from_row(row), b + block * b_jump, b_jump, c + block * c_jump + row * kBlock,
                         c_jump, adds);
      row += count;
    }
  }
}

}  // namespace
}  // namespace dtrain
