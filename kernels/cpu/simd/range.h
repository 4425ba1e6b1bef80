// Which of a call's rows, images or channels are to be computed.
#pragma once

#include <cstdint>

namespace dtrain {

struct Range {
  std::int64_t begin, end;
};

}  // namespace dtrain
