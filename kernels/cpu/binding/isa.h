// Which of the instruction sets of this build (CMakeLists.txt lists them) this CPU runs.
#pragma once

namespace dtrain {

bool cpu_supports(const char* isa);

}  // namespace dtrain
