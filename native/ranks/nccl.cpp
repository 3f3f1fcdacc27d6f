// Every communicator is non-blocking: a call returns at once and is asked for its result until it has one, so that all
// waiting can be ended, by aborting, when a rank is lost.
#include "ranks/nccl.h"

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "core/gpu.h"

namespace mora::ranks {

namespace {

bool isFine(NcclResult result) { return result == NcclResult::success || result == NcclResult::inProgress; }

}  // namespace

/// Used by the group's thread and by the device's that issues, and alive until both are done with it.
struct NcclRanks::Communicator {
  explicit Communicator(const NcclTable& table) : table(table) {}

  /// Calls NCCL, one thread at a time. Throws what it answers, and once it was aborted.
  template <typename Call>
  void call(const char* name, Call body) {
    const std::lock_guard lock(mutex);
    if (aborted) throw NcclFailed("NCCL was ended", true);
    check(name, body());
  }

  /// Throws where a call or what it began has failed. Whether nothing is being begun.
  bool settled(const char* name) {
    NcclResult state = NcclResult::success;
    call(name, [&] {
      if (!handle) return state;
      const NcclResult asked = table.commGetAsyncError(handle, &state);
      return asked == NcclResult::success ? state : asked;
    });
    return state != NcclResult::inProgress;
  }

  void settle(const char* name) {
    while (!settled(name)) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

  void abort() {
    const std::lock_guard lock(mutex);
    if (aborted) return;
    aborted = true;
    if (handle) table.commAbort(handle);
  }

  const NcclTable& table;
  NcclCommunicator handle = nullptr;

 private:
  void check(const char* name, NcclResult result) const {
    if (isFine(result)) return;
    const char* const said = table.getLastError(handle);
    std::string why = table.getErrorString(result);
    if (said && *said) why += std::string(" (") + said + ")";
    throw NcclFailed(std::string(name) + ": " + why, result == NcclResult::remoteError ||
                                                         result == NcclResult::systemError ||
                                                         result == NcclResult::internalError);
  }

  std::mutex mutex;
  bool aborted = false;
};

namespace {

constexpr const char* kConnect = "ncclCommInitRankConfig";

/// NCCL's function for it.
const char* functionOf(Kind kind) {
  return kind == Kind::sumOnGpus ? "ncclAllReduce" : kind == Kind::gatherOnGpus ? "ncclAllGather" : kConnect;
}

}  // namespace

NcclRanks::NcclRanks(const Nccl& library, Device& device, const NcclId& id, int rank, int size, const Wait& wait)
    : device_(device), communicator_(std::make_shared<Communicator>(library.table)) {
  const auto connect = [id, rank, size](Communicator& communicator, void*) {
    communicator.call(kConnect, [&] {
      NcclConfig config;
      config.blocking = 0;
      return communicator.table.commInitRankConfig(&communicator.handle, size, id, rank, &config);
    });
    communicator.settle(kConnect);
  };
  try {
    finish(*begin(Kind::barrier, 0, connect, {}), wait);
  } catch (...) {
    abort();
    throw;
  }
}

NcclRanks::~NcclRanks() { abort(); }

void NcclRanks::abort() { communicator_->abort(); }

std::shared_ptr<NcclWork> NcclRanks::sum(const std::vector<Tensor>& tensors) {
  uint64_t values = 0;
  for (const Tensor& tensor : tensors) values += static_cast<uint64_t>(tensor.elements());
  const auto allReduce = [tensors](Communicator& communicator, void* stream) {
    const NcclTable& table = communicator.table;
    communicator.call(functionOf(Kind::sumOnGpus), [&] {
      NcclResult first = table.groupStart();
      for (const Tensor& tensor : tensors) {
        if (!isFine(first)) break;
        void* const data = tensor.desc().data;
        const auto count = static_cast<size_t>(tensor.elements());
        if (count > 0)
          first =
              table.allReduce(data, data, count, NcclType::float32, NcclOperation::sum, communicator.handle, stream);
      }
      const NcclResult last = table.groupEnd();
      return isFine(first) ? last : first;
    });
    // All of it has to be on the stream before anything waits for the stream.
    communicator.settle(functionOf(Kind::sumOnGpus));
  };
  return begin(Kind::sumOnGpus, values, allReduce, tensors);
}

std::shared_ptr<NcclWork> NcclRanks::gather(const Tensor& given, const Tensor& all) {
  const auto allGather = [given, all](Communicator& communicator, void* stream) {
    communicator.call(functionOf(Kind::gatherOnGpus), [&] {
      return communicator.table.allGather(given.desc().data, all.desc().data, given.bytes(), NcclType::uint8,
                                          communicator.handle, stream);
    });
    communicator.settle(functionOf(Kind::gatherOnGpus));
  };
  return begin(Kind::gatherOnGpus, given.bytes(), allGather, {given, all});
}

std::shared_ptr<NcclWork> NcclRanks::begin(Kind kind, uint64_t values, const Issue& issue,
                                           const std::vector<Tensor>& tensors) {
  auto work = std::make_shared<NcclWork>(kind, values);
  beside(
      device_,
      [issue, work, communicator = communicator_](void* stream) {
        try {
          issue(*communicator, stream);
        } catch (const NcclFailed& failure) {
          const std::lock_guard lock(work->mutex);
          work->ofNccl = failure;
        }
      },
      // The tensors' memory is not given to others before this is called.
      [work, tensors](const StreamError& error) {
        const std::lock_guard lock(work->mutex);
        work->isDone = true;
        if (error.status != Status::ok) work->ofDevice = error.message;
      });
  return work;
}

void NcclRanks::finish(NcclWork& work, const Wait& wait) {
  const auto isDone = [&] {
    const std::lock_guard lock(work.mutex);
    if (work.ofNccl) throw NcclFailed(*work.ofNccl);
    return work.isDone;
  };
  wait([&] {
    if (isDone()) return true;
    communicator_->settled(functionOf(work.kind));  // NCCL tells here when a connection is lost that the GPU waits for
    return false;
  });
  if (!work.ofDevice.empty())
    throw Error("operation-failed", std::string(functionOf(work.kind)) + " failed on the GPU: " + work.ofDevice + ".");
}

}  // namespace mora::ranks
