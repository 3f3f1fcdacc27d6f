#include "core/system/linux/control_groups.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

namespace mora {
namespace {

namespace fs = std::filesystem;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

/// The first two numbers of a file; a word or nothing means no limit.
struct Numbers {
  double first = kUnlimited, second = kUnlimited;

  explicit Numbers(const fs::path& file) {
    std::ifstream in(file);
    if (!(in >> first)) first = kUnlimited;
    if (!(in >> second)) second = kUnlimited;
  }
};

/// Version 2: "max 100000" or "150000 100000", microseconds per period.
GroupLimits limitsOf(const fs::path& group) {
  const Numbers time(group / "cpu.max"), memory(group / "memory.max");
  return {std::isfinite(time.second) ? time.first / time.second : kUnlimited, memory.first};
}

/// Version 1: a quota of -1 means no limit.
GroupLimits limitsOfVersion1(const fs::path& group) {
  const double quota = Numbers(group / "cpu.cfs_quota_us").first, period = Numbers(group / "cpu.cfs_period_us").first;
  return {quota > 0 && std::isfinite(period) ? quota / period : kUnlimited,
          Numbers(group / "memory.limit_in_bytes").first};
}

/// Applies the limits of a group and of all above it. In a container the group's own path may not exist; then the
/// mounted group is the container's.
template <typename LimitsOf>
void limitBy(GroupLimits& limits, const fs::path& mounted, fs::path group, LimitsOf&& limitsOf) {
  for (group = group.relative_path();; group = group.parent_path()) {
    const GroupLimits found = limitsOf(mounted / group);
    limits.processors = std::min(limits.processors, found.processors);
    limits.bytes = std::min(limits.bytes, found.bytes);
    if (group.empty()) return;
  }
}

}  // namespace

GroupLimits groupLimits(const fs::path& root) {
  GroupLimits limits{kUnlimited, kUnlimited};
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  // "0::/group" is version 2, "4:cpu,cpuacct:/group" version 1.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1);
    if (controllers.empty())
      limitBy(limits, fs::exists(mounts / "unified") ? mounts / "unified" : mounts, group, limitsOf);
    else
      limitBy(limits, mounts / controllers, group, limitsOfVersion1);
  }
  return limits;
}

}  // namespace mora
