#include "cpu/products/matrix_units.h"

#include <hwy/base.h>

#include "core/system/processor.h"

namespace mora::cpu {

bool hasMatrixUnits() {
#if HWY_ARCH_X86_64 && !defined(__APPLE__)
  static const bool has =
      __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") && mayUseTiles();
  return has;
#else
  return false;
#endif
}

bool hasForbiddenTiles() {
#if HWY_ARCH_X86_64 && !defined(__APPLE__)
  static const bool has = __builtin_cpu_supports("amx-tile") && !mayUseTiles();
  return has;
#else
  return false;
#endif
}

}  // namespace mora::cpu
