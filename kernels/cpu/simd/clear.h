// Zeros in a row.
#pragma once

#include <cstdint>
#include <cstring>  // memset

namespace dtrain {
namespace {

template <typename T>
inline void clear(T* to, std::int64_t count) {
  std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(T));
}

}  // namespace
}  // namespace dtrain
