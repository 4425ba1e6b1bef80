// The building block of matrix products: a tile of C in registers, over operands that lie in blocks of 16.
//
//   C[r][n] (+)= Σ_k A[r][k] · B[k][n]       r < ROWS, n < 16 · BLOCKS
//
// B and C have their columns in blocks: [block][k][16] and [block][row][16]. A is read one number at a time, from either
// of two orders, so that the same images serve as A and as B, and a product may sum over channels or over pixels:
//
//   kRowsApart   A = [k / 16][row][16]   the sum runs along the 16, and over `outer` blocks that lie `a_jump` apart
//   kSumApart    A = [k][16]             the rows are the 16; `outer` · 16 + `inner` numbers are summed
//
// All distances inside a tile are constants, which become displacements of instructions: a tile of 14 rows needs one
// pointer and not 14. The register tile is that of Goto and van de Geijn (2008); to sum over blocks that lie anywhere is
// the batch-reduce form of Georganas et al. (2020).
#pragma once

#include <cstdint>

#define DTRAIN_UNROLL _Pragma("GCC unroll 16")

namespace dtrain {
namespace {

constexpr int kBlock = 16;  // columns that lie together, whatever the vectors: f32 of AVX-512

enum class Order { kRowsApart, kSumApart };

// How much of the registers a tile takes: accumulators, one row of B, and one number of A in all lanes.
template <typename V>
struct RegisterTile {
  static constexpr int vectors = kBlock / V::width;                // in a block
  static constexpr int registers = sizeof(V) == 64 ? 32 : 16;      // AVX-512 has twice as many
  static constexpr int blocks = vectors == 1 ? 2 : 1;              // two loads of B a row at least
  static constexpr int rows = (registers - 2) / (vectors * blocks) - 1 > 0 ? (registers - 2) / (vectors * blocks) - 1 : 1;
};

template <typename V, int ROWS, int BLOCKS, Order ORDER>
__attribute__((always_inline)) inline void multiply_tile(const typename V::Element* a, std::int64_t a_jump,
                                                         const typename V::Element* b, std::int64_t b_jump,
                                                         std::int64_t outer, std::int64_t inner,
                                                         typename V::Element* c, std::int64_t c_jump, bool adds) {
  constexpr int kVectors = kBlock / V::width;
  constexpr int kRow = ORDER == Order::kRowsApart ? kBlock : 1;
  constexpr int kStep = ORDER == Order::kRowsApart ? 1 : kBlock;
  V sum[ROWS][BLOCKS * kVectors];
  DTRAIN_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) sum[r][v] = V::zero();
  }
  const auto step = [&](const typename V::Element* at, const typename V::Element* row) {
    V columns[BLOCKS * kVectors];
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) {
      columns[v] = V::load(row + v / kVectors * b_jump + v % kVectors * V::width);
    }
    DTRAIN_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const V number(at[r * kRow]);
      DTRAIN_UNROLL
      for (int v = 0; v < BLOCKS * kVectors; ++v) sum[r][v] = fma(number, columns[v], sum[r][v]);
    }
  };
  for (std::int64_t block = 0; block < outer; ++block) {
    const typename V::Element* at = a + block * a_jump;
    for (int k = 0; k < kBlock; ++k, at += kStep, b += kBlock) step(at, b);
  }
  a += outer * a_jump;
  for (std::int64_t k = 0; k < inner; ++k, a += kStep, b += kBlock) step(a, b);
  DTRAIN_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    DTRAIN_UNROLL
    for (int v = 0; v < BLOCKS * kVectors; ++v) {
      typename V::Element* to = c + v / kVectors * c_jump + r * kBlock + v % kVectors * V::width;
      (adds ? sum[r][v] + V::load(to) : sum[r][v]).store(to);
    }
  }
}

// A tile of at most RegisterTile<V>::rows rows: one function for each count, so that each has its loops unrolled.
template <typename V, int BLOCKS, Order ORDER, int ROWS = RegisterTile<V>::rows>
inline void multiply_rows(int rows, const typename V::Element* a, std::int64_t a_jump, const typename V::Element* b,
                          std::int64_t b_jump, std::int64_t outer, std::int64_t inner, typename V::Element* c,
                          std::int64_t c_jump, bool adds) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) {
      multiply_tile<V, ROWS, BLOCKS, ORDER>(a, a_jump, b, b_jump, outer, inner, c, c_jump, adds);
    } else {
      multiply_rows<V, BLOCKS, ORDER, ROWS - 1>(rows, a, a_jump, b, b_jump, outer, inner, c, c_jump, adds);
    }
  }
}

// [rows][16 · column_blocks] in tiles. Rows are divided evenly, since a tile of two leaves the multipliers waiting.
//
// Order::kRowsApart: A = [outer][a_jump], `inner` = 0. Order::kSumApart: A = [k][16] and at most 16 rows.
template <typename V, Order ORDER>
void multiply(std::int64_t rows, std::int64_t column_blocks, const typename V::Element* a, std::int64_t a_jump,
              const typename V::Element* b, std::int64_t b_jump, std::int64_t outer, std::int64_t inner,
              typename V::Element* c, std::int64_t c_jump, bool adds) {
  constexpr int kRows = RegisterTile<V>::rows, kBlocks = RegisterTile<V>::blocks;
  constexpr int kRow = ORDER == Order::kRowsApart ? kBlock : 1;
  const std::int64_t tiles = (rows + kRows - 1) / kRows;
  for (std::int64_t block = 0; block < column_blocks; block += kBlocks) {
    const bool is_whole = column_blocks - block >= kBlocks;
    const typename V::Element* columns = b + block * b_jump;
    std::int64_t row = 0;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const int count = static_cast<int>((rows - row + tiles - tile - 1) / (tiles - tile));
      typename V::Element* to = c + block * c_jump + row * kBlock;
      if (is_whole) {
        multiply_rows<V, kBlocks, ORDER>(count, a + row * kRow, a_jump, columns, b_jump, outer, inner, to, c_jump, adds);
      } else {
        multiply_rows<V, 1, ORDER>(count, a + row * kRow, a_jump, columns, b_jump, outer, inner, to, c_jump, adds);
      }
      row += count;
    }
  }
}

}  // namespace
}  // namespace dtrain
