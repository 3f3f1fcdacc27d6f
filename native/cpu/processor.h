// Differences between processors with the same instruction set.
#pragma once
#include <hwy/base.h>

namespace mora::cpu {

inline bool isIntel() {
#if HWY_ARCH_X86 && defined(__APPLE__)
  return true;  // as in every Mac with x86; zig lacks what the compiler's functions for it need
#elif HWY_ARCH_X86
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

}  // namespace mora::cpu
