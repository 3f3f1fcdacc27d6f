#include "core/system/processor.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

namespace mora {

std::string processorName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "CPU";
}

/// Linux reserves space for the registers on request (Documentation/arch/x86/xstate.rst).
bool mayUseTiles() {
#ifdef __x86_64__
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace mora
