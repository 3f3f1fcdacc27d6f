// Differences between processors with the same instruction set.
#pragma once
#include <hwy/base.h>

namespace mora::cpu {

inline bool isIntel() {
#if HWY_ARCH_X86
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

}  // namespace mora::cpu
