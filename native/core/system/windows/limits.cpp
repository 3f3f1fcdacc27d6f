#include "core/system/limits.h"

#include <windows.h>

#include <bit>

namespace mora {

int availableProcessors() {
  static const int known = [] {
    DWORD_PTR own = 0, all = 0;
    const bool isKnown = GetProcessAffinityMask(GetCurrentProcess(), &own, &all) && own != 0;
    return isKnown ? std::popcount(static_cast<uint64_t>(own)) : 1;
  }();
  return known;
}

uint64_t availableMemory() {
  static const uint64_t known = [] {
    MEMORYSTATUSEX memory{};
    memory.dwLength = sizeof memory;
    GlobalMemoryStatusEx(&memory);
    return uint64_t{memory.ullTotalPhys};
  }();
  return known;
}

}  // namespace mora
