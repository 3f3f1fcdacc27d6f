// Resources that the system grants this process: the machine's, or fewer if it is bound to some processors or limited
// by a control group (cgroups(7)), as in a container.
#pragma once
#include <cstdint>
#include <filesystem>

namespace mora {

/// Number of processors that may run its threads at once, at least 1.
int availableProcessors();

/// Bytes of memory that it may use.
uint64_t availableMemory();

/// The limits of a control group and those above it, from the files of version 1 or 2.
struct GroupLimits {
  double processors;  // infinity means no limit
  double bytes;
};

/// The limits of the groups that `root`/proc/self/cgroup names, read from `root`/sys/fs/cgroup.
GroupLimits groupLimits(const std::filesystem::path& root = "/");

}  // namespace mora
