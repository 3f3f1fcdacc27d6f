// Compares what nccl_library.h declares with NCCL's own header, where this machine has it; nothing else is here.
#include "ranks/nccl_library.h"

#if __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#include <nccl.h>

#include "core/libraries/same_signature.h"

namespace mora::ranks {
namespace {

#define MORA_AGREES(member, function) \
  static_assert(SameSignature<decltype(NcclTable::member), decltype(&(function))>::value, #function)
MORA_AGREES(getVersion, ncclGetVersion);
MORA_AGREES(getUniqueId, ncclGetUniqueId);
MORA_AGREES(commInitRankConfig, ncclCommInitRankConfig);
MORA_AGREES(allReduce, ncclAllReduce);
MORA_AGREES(allGather, ncclAllGather);
MORA_AGREES(groupStart, ncclGroupStart);
MORA_AGREES(groupEnd, ncclGroupEnd);
MORA_AGREES(commGetAsyncError, ncclCommGetAsyncError);
MORA_AGREES(commAbort, ncclCommAbort);
MORA_AGREES(getErrorString, ncclGetErrorString);
MORA_AGREES(getLastError, ncclGetLastError);
#undef MORA_AGREES

#define MORA_EQUAL(ours, theirs) static_assert(static_cast<int64_t>(ours) == static_cast<int64_t>(theirs), #theirs)
MORA_EQUAL(NcclResult::success, ncclSuccess);
MORA_EQUAL(NcclResult::systemError, ncclSystemError);
MORA_EQUAL(NcclResult::internalError, ncclInternalError);
MORA_EQUAL(NcclResult::remoteError, ncclRemoteError);
MORA_EQUAL(NcclResult::inProgress, ncclInProgress);
MORA_EQUAL(NcclType::uint8, ncclUint8);
MORA_EQUAL(NcclType::float32, ncclFloat32);
MORA_EQUAL(NcclOperation::sum, ncclSum);
MORA_EQUAL(sizeof(NcclId), NCCL_UNIQUE_ID_BYTES);
MORA_EQUAL(kNcclUndefined, NCCL_CONFIG_UNDEF_INT);
MORA_EQUAL(offsetof(NcclConfig, size), offsetof(ncclConfig_t, size));
MORA_EQUAL(offsetof(NcclConfig, magic), offsetof(ncclConfig_t, magic));
MORA_EQUAL(offsetof(NcclConfig, version), offsetof(ncclConfig_t, version));
MORA_EQUAL(offsetof(NcclConfig, blocking), offsetof(ncclConfig_t, blocking));
MORA_EQUAL(offsetof(NcclConfig, cgaClusterSize), offsetof(ncclConfig_t, cgaClusterSize));
MORA_EQUAL(offsetof(NcclConfig, minCtas), offsetof(ncclConfig_t, minCTAs));
MORA_EQUAL(offsetof(NcclConfig, maxCtas), offsetof(ncclConfig_t, maxCTAs));
MORA_EQUAL(offsetof(NcclConfig, netName), offsetof(ncclConfig_t, netName));
MORA_EQUAL(offsetof(NcclConfig, splitShare), offsetof(ncclConfig_t, splitShare));
#undef MORA_EQUAL

constexpr ncclConfig_t kInitial = NCCL_CONFIG_INITIALIZER;
static_assert(NcclConfig().magic == kInitial.magic);
static_assert(NcclConfig().version <= kInitial.version);
static_assert(sizeof(NcclConfig) <= sizeof(ncclConfig_t));

}  // namespace
}  // namespace mora::ranks
#endif
