// Limits of control groups (cgroups(7)), as in a container.
#pragma once
#include <filesystem>

namespace mora {

/// The limits of a control group and those above it, from the files of version 1 or 2.
struct GroupLimits {
  double processors;  // infinity means no limit
  double bytes;
};

/// The limits of the groups that `root`/proc/self/cgroup names, read from `root`/sys/fs/cgroup.
GroupLimits groupLimits(const std::filesystem::path& root = "/");

}  // namespace mora
