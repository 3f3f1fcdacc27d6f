#include "core/system/limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/system/linux/control_groups.h"

namespace mora {
namespace {

int boundProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more processors than the set can hold
}

}  // namespace

int availableProcessors() {
  static const int known = static_cast<int>(
      std::clamp(std::ceil(groupLimits().processors), 1.0, static_cast<double>(std::max(1, boundProcessors()))));
  return known;
}

uint64_t availableMemory() {
  static const uint64_t known = [] {
    const auto physical = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const double bytes = groupLimits().bytes;
    return bytes < static_cast<double>(physical) ? static_cast<uint64_t>(bytes) : physical;
  }();
  return known;
}

}  // namespace mora
