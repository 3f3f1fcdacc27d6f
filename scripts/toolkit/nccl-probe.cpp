// Opens NCCL as ranks do, in the folder that MORA_NCCL names, and prints what a machine without a GPU can know of it. Ends
// with 1 where it cannot be opened, is too old, lacks a name of the table, or does not do what needs no GPU.
#include <cstdio>

#include "ranks/nccl_library.h"

int main() {
  using mora::ranks::NcclResult;
  mora::Absence absence;
  const mora::ranks::Nccl* const library = mora::ranks::openNccl(absence);
  if (!library) {
    std::fprintf(stderr, "%s\n", absence.text().c_str());
    return 1;
  }
  const auto& table = library->table;
  mora::ranks::NcclId id{};
  mora::ranks::NcclCommunicator communicator = nullptr;
  mora::ranks::NcclConfig config;
  config.blocking = 0;
  const NcclResult made = table.getUniqueId(&id);
  const NcclResult refused = table.commInitRankConfig(&communicator, 1, id, 0, &config);
  std::printf("%s is NCCL %s; every name of the table is there; ncclGetUniqueId answers %d (%s), and without a driver "
              "ncclCommInitRankConfig %d (%s)\n",
              library->path.c_str(), mora::ranks::ncclVersionText(library->version).c_str(), static_cast<int>(made),
              table.getErrorString(made), static_cast<int>(refused), table.getErrorString(refused));
  const bool isOfDevice = refused == NcclResult{1} || refused == NcclResult::systemError;  // no device can be asked
  return made == NcclResult::success && isOfDevice ? 0 : 1;
}
