// NCCL, opened at run time, since most machines that build this have none. Values and argument orders are those of NCCL
// 2.18 and newer; nccl_abi.cpp compares them with the real header where there is one.
#pragma once
#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace mora::ranks {

enum class NcclResult : int32_t { success = 0, systemError = 2, internalError = 3, remoteError = 6, inProgress = 7 };
enum class NcclType : int32_t { uint8 = 1, float32 = 7 };
enum class NcclOperation : int32_t { sum = 0 };
using NcclCommunicator = struct NcclCommunicatorOfLibrary*;

struct NcclId {
  char bytes[128];
};

constexpr int kNcclUndefined = INT_MIN;
/// As NCCL 2.18 has it; newer ones see by size and version that later fields are absent.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  uint32_t magic = 0xcafebeef;
  uint32_t version = 21800;
  int blocking = kNcclUndefined;
  int cgaClusterSize = kNcclUndefined;
  int minCtas = kNcclUndefined;
  int maxCtas = kNcclUndefined;
  const char* netName = nullptr;
  int splitShare = kNcclUndefined;
};

struct NcclTable {
  NcclResult (*getVersion)(int* version);  // as 22203 for 2.22.3; needs no device
  NcclResult (*getUniqueId)(NcclId* id);
  NcclResult (*commInitRankConfig)(NcclCommunicator* communicator, int size, NcclId id, int rank, NcclConfig* config);
  /// `stream` is a cudaStream_t.
  NcclResult (*allReduce)(const void* from, void* to, size_t count, NcclType type, NcclOperation operation,
                          NcclCommunicator communicator, void* stream);
  /// `count` of what each rank gives.
  NcclResult (*allGather)(const void* from, void* to, size_t count, NcclType type, NcclCommunicator communicator,
                          void* stream);
  NcclResult (*groupStart)();
  NcclResult (*groupEnd)();
  NcclResult (*commGetAsyncError)(NcclCommunicator communicator, NcclResult* error);
  NcclResult (*commAbort)(NcclCommunicator communicator);
  const char* (*getErrorString)(NcclResult result);
  /// What the library said of its last error; of a communicator, or of all for null.
  const char* (*getLastError)(NcclCommunicator communicator);
};

struct Nccl {
  NcclTable table;
  std::string path;
  int version;
};

/// "2.22.3" for 22203.
std::string ncclVersionText(int version);

/// The library, opened at the first call; MORA_NCCL names it or its folder. Null, with the places that were searched,
/// where there is none of version 2.18 or newer.
const Nccl* openNccl(Absence& absence);

}  // namespace mora::ranks
