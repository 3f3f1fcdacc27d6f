#include "cpu/products/matrix_units.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mora::cpu {

#if defined(__x86_64__) && defined(__linux__)

namespace {

/// Linux reserves space for the registers on request (Documentation/arch/x86/xstate.rst).
bool askForTiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool hasMatrixUnits() {
  static const bool has = askForTiles();
  return has;
}

#else

bool hasMatrixUnits() { return false; }

#endif

}  // namespace mora::cpu
