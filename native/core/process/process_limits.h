// What the system lets this process use: of the machine, or less where it is bound to some processors or a control
// group (cgroups(7)) limits it, as in a container.
#pragma once
#include <cstdint>
#include <filesystem>

namespace mora {

/// Processors that may run its threads at once; a fraction of one counts as one.
int availableProcessors();

/// Bytes of memory that it may have.
uint64_t availableMemory();

/// Limits of a control group and those above it, as the files of version 1 or 2 say.
struct GroupLimits {
  double processors;  // infinite where there is no limit
  double bytes;
};

/// The limits of the groups that `root`/proc/self/cgroup names, by what lies in `root`/sys/fs/cgroup.
GroupLimits groupLimits(const std::filesystem::path& root = "/");

}  // namespace mora
