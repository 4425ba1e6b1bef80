// A plane of an image in its zeros, so that what reads it knows no borders.
#pragma once

#include "convolution/convolution.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// Where a plain image stands in its zeros: pixel (h, w) at (h·apart_h + above, w·apart_w + left).
struct Placement {
  std::int64_t height, width, apart_h, apart_w, above, left;
};

// Numbers `begin` to `end` of a line onto the phases of a row of the plane. A count of phases that the compiler knows makes
// vectors of it; 0 is any.
template <int PHASES, typename T>
void deal_out(const T* line, std::int64_t begin, std::int64_t end, std::int64_t left, T* row, const PaddedPlane& plane) {
  const std::int64_t phases = PHASES > 0 ? PHASES : plane.phases;
  for (std::int64_t phase = 0; phase < phases; ++phase) {
    const std::int64_t behind = (begin + left) % phases;
    const std::int64_t first = begin + (phase - behind + phases) % phases;
    T* to = row + phase * plane.pitch + (first + left) / phases;
    const std::int64_t count = first < end ? (end - first + phases - 1) / phases : 0;
    for (std::int64_t i = 0; i < count; ++i) to[i] = line[first + i * phases];
  }
}

// What lies outside of the plane is read by nobody.
template <typename V>
void place(const typename V::Element* from, const Placement& at, typename V::Element* to, const PaddedPlane& plane) {
  using T = typename V::Element;
  const std::int64_t columns = plane.row();
  std::int64_t begin = 0, end = at.width;
  while (begin < end && begin * at.apart_w + at.left < 0) ++begin;
  while (end > begin && (end - 1) * at.apart_w + at.left >= columns) --end;
  for (std::int64_t h = 0; h < at.height; ++h) {
    const std::int64_t row = h * at.apart_h + at.above;
    if (row < 0 || row >= plane.rows) continue;
    const T* line = from + h * at.width;
    T* target = to + row * columns;
    if (plane.phases == 1 && at.apart_w == 1) {
      // Zeros behind the end of a row are zeros of the plane; whole vectors are what loads soon find again.
      T* row_of_plane = target + begin + at.left;
      const std::int64_t room = columns - begin - at.left - V::width;
      for_each_vector<V>(end - begin, [&](std::int64_t w, auto lane) {
        const V numbers = lane.load(line + begin + w);
        if (w <= room) {
          numbers.store(row_of_plane + w);
        } else {
          lane.store(numbers, row_of_plane + w);
        }
      });
    } else if (plane.phases == 1) {
      for (std::int64_t w = begin; w < end; ++w) target[w * at.apart_w + at.left] = line[w];
    } else if (plane.phases == 2) {
      deal_out<2>(line, begin, end, at.left, target, plane);
    } else {
      deal_out<0>(line, begin, end, at.left, target, plane);
    }
  }
}

}  // namespace
}  // namespace dtrain
