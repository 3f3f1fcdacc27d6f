// The limits of control groups, from their files: versions 1 and 2, nested, unlimited, absent, as in a container.
#include "core/system/linux/control_groups.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include "check.h"
#include "core/system/limits.h"

namespace fs = std::filesystem;
using mora::GroupLimits;
using mora::groupLimits;

namespace {

/// The limits if these are the only files.
GroupLimits limitsWith(const std::map<std::string, std::string>& files) {
  std::string root = fs::temp_directory_path() / "mora-limits-XXXXXX";
  if (!mkdtemp(root.data())) std::abort();
  for (const auto& [name, content] : files) {
    const fs::path file = fs::path(root) / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  const GroupLimits limits = groupLimits(root);
  fs::remove_all(root);
  return limits;
}

void nothingIsNoLimit() {
  for (const auto& files : {std::map<std::string, std::string>{},
                            {{"proc/self/cgroup", "0::/\n"}},
                            {{"proc/self/cgroup", "not what is expected\n0::/a/b\n"}},
                            {{"proc/self/cgroup", "0::/a\n"},
                             {"sys/fs/cgroup/a/cpu.max", "max 100000\n"},
                             {"sys/fs/cgroup/a/memory.max", "max\n"}},
                            {{"proc/self/cgroup", "3:cpu,cpuacct:/\n2:memory:/\n"},
                             {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
                             {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}}}) {
    const GroupLimits limits = limitsWith(files);
    CHECK(std::isinf(limits.processors) && std::isinf(limits.bytes));
  }
}

void version2() {
  const GroupLimits limits = limitsWith({{"proc/self/cgroup", "0::/a/b\n"},
                                         {"sys/fs/cgroup/a/cpu.max", "300000 200000\n"},
                                         {"sys/fs/cgroup/a/memory.max", "1000000\n"},
                                         {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                                         {"sys/fs/cgroup/a/b/memory.max", "2000000\n"}});
  CHECK(limits.processors == 1.5);
  CHECK(limits.bytes == 1e6);
}

void version1() {
  const GroupLimits limits =
      limitsWith({{"proc/self/cgroup", "9:name=systemd:/\n4:memory:/a\n1:cpu,cpuacct:/a/b\n0::/\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "50000\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"},
                  {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"},
                  {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                  {"sys/fs/cgroup/unified/cgroup.procs", ""}});
  CHECK(limits.processors == 0.5);
  CHECK(limits.bytes == 4096);
}

void aContainerSeesItsOwnGroupAsTheRoot() {
  const GroupLimits limits = limitsWith({{"proc/self/cgroup", "0::/../outside/of/it\n4:memory:/docker/1f\n"},
                                         {"sys/fs/cgroup/cpu.max", "200000 100000\n"},
                                         {"sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n"}});
  CHECK(limits.processors == 2);
  CHECK(limits.bytes == 8192);
}

void thisProcessHasSome() {
  CHECK(mora::availableProcessors() >= 1);
  CHECK(mora::availableMemory() > 1 << 20);
}

}  // namespace

int main() {
  nothingIsNoLimit();
  version2();
  version1();
  aContainerSeesItsOwnGroupAsTheRoot();
  thisProcessHasSome();
  return mora::test::finish();
}
