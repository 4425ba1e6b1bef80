#include "layout/layout.h"
#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// Which of the two arrays is blocked follows from their axes: x[N,C,H,W] has four, blocked[N,CB,H,W,B] five.
template <typename T>
auto bind_relayout(Call& call, relayout_fn<T>* kernel) {
  const auto from = call.input<T>(0);
  const auto to = call.output<T>(0);
  call.expect((from.ndim == 4 && to.ndim == 5) || (from.ndim == 5 && to.ndim == 4),
              "x[N,C,H,W] and blocked[N,CB,H,W,B]");
  const bool to_blocks = to.ndim == 5;
  const Py_ssize_t* x = to_blocks ? from.shape : to.shape;
  const Py_ssize_t* blocked = to_blocks ? to.shape : from.shape;
  const LayoutShape shape{x[0], x[1], x[2] * x[3], blocked[4], to_blocks};
  call.expect(blocked[4] > 0 && blocked[0] == x[0] && blocked[1] == (x[1] + blocked[4] - 1) / blocked[4] &&
                  blocked[2] == x[2] && blocked[3] == x[3],
              "blocked[N,CB,H,W,B] with as many blocks as hold C channels");
  return [=] {
    ReleaseGil unlocked(to.size * sizeof(T));
    const std::int64_t plain = shape.channels * shape.pixels;
    const std::int64_t in_blocks = (shape.channels + shape.block - 1) / shape.block * shape.block * shape.pixels;
    share(shape.batch, 2 * to.size * sizeof(T), [&](Range images, std::int64_t) {
      LayoutShape part = shape;
      part.batch = images.end - images.begin;
      kernel(from.data + images.begin * (shape.to_blocks ? plain : in_blocks),
             to.data + images.begin * (shape.to_blocks ? in_blocks : plain), part);
    });
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY layout
#define DTRAIN_KERNELS "layout/kernels.inc"
#include "binding/rows.h"
