// The instruction sets of this build, as CMakeLists.txt lists them, and which of them this CPU runs.
#pragma once

#include <vector>

namespace dtrain {

struct InstructionSet {
  const char* name;
  std::vector<const char*> features;  // that a CPU must have
  bool is_supported;
};

// Plain code first, later ones are better.
const std::vector<InstructionSet>& instruction_sets();

bool cpu_supports(const char* isa);

}  // namespace dtrain
