#include "core/system/processor.h"

#include <cpuid.h>

#include <array>
#include <cstring>

namespace mora {

std::string processorName() {
  constexpr unsigned kFirst = 0x80000002, kParts = 3;
  std::array<unsigned, 4> words{};
  std::string name;
  for (unsigned part = 0; part < kParts; ++part) {
    if (!__get_cpuid(kFirst + part, &words[0], &words[1], &words[2], &words[3])) return "CPU";
    name.append(reinterpret_cast<const char*>(words.data()), sizeof words);
  }
  return name.c_str();  // up to its end, which is a zero
}

bool mayUseTiles() { return false; }

}  // namespace mora
