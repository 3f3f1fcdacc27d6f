#include "core/system/processor.h"

#include <sys/sysctl.h>

namespace mora {

std::string processorName() {
  char name[256];
  size_t length = sizeof name;
  return sysctlbyname("machdep.cpu.brand_string", name, &length, nullptr, 0) == 0 ? name : "CPU";
}

bool mayUseTiles() { return false; }

}  // namespace mora
