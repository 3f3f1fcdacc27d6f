// Every communicator is non-blocking: a call returns at once and is asked for its result until it has one, so that all
// waiting can be ended, by aborting, when a rank is lost.
#include "ranks/nccl.h"

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "core/gpu.h"

namespace mora::ranks {

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
    if (result == NcclResult::success || result == NcclResult::inProgress) return;
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

/// What the device's threads tell the one that waits.
struct Outcome {
  std::mutex mutex;
  bool isDone = false;
  std::optional<NcclFailed> ofNccl;
  std::string ofDevice;
};

}  // namespace

NcclRanks::NcclRanks(const Nccl& library, Device& device, const NcclId& id, int rank, int size, const Wait& wait)
    : device_(device), communicator_(std::make_shared<Communicator>(library.table)) {
  const auto connect = [id, rank, size](Communicator& communicator, void*) {
    communicator.call("ncclCommInitRankConfig", [&] {
      NcclConfig config;
      config.blocking = 0;
      return communicator.table.commInitRankConfig(&communicator.handle, size, id, rank, &config);
    });
    communicator.settle("ncclCommInitRankConfig");
  };
  run("ncclCommInitRankConfig", connect, {}, wait);
}

NcclRanks::~NcclRanks() { communicator_->abort(); }

void NcclRanks::sum(const std::vector<Tensor>& tensors, const Wait& wait) {
  const auto allReduce = [tensors](Communicator& communicator, void* stream) {
    const NcclTable& table = communicator.table;
    communicator.call("ncclAllReduce", [&] {
      NcclResult first = table.groupStart();
      for (const Tensor& tensor : tensors) {
        if (first != NcclResult::success && first != NcclResult::inProgress) break;
        void* const data = tensor.desc().data;
        const auto count = static_cast<size_t>(tensor.elements());
        if (count > 0)
          first =
              table.allReduce(data, data, count, NcclType::float32, NcclOperation::sum, communicator.handle, stream);
      }
      const NcclResult last = table.groupEnd();
      return first == NcclResult::success || first == NcclResult::inProgress ? last : first;
    });
    // All of it has to be on the stream before anything waits for the stream.
    communicator.settle("ncclAllReduce");
  };
  run("ncclAllReduce", allReduce, tensors, wait);
}

void NcclRanks::run(const char* name, const std::function<void(Communicator&, void*)>& issue,
                    const std::vector<Tensor>& tensors, const Wait& wait) {
  const auto outcome = std::make_shared<Outcome>();
  beside(
      device_,
      [issue, outcome, communicator = communicator_](void* stream) {
        try {
          issue(*communicator, stream);
        } catch (const NcclFailed& failure) {
          const std::lock_guard lock(outcome->mutex);
          outcome->ofNccl = failure;
        }
      },
      // The tensors' memory is not given to others before this is called.
      [outcome, tensors](const StreamError& error) {
        const std::lock_guard lock(outcome->mutex);
        outcome->isDone = true;
        if (error.status != Status::ok) outcome->ofDevice = error.message;
      });
  const auto isDone = [&] {
    const std::lock_guard lock(outcome->mutex);
    if (outcome->ofNccl) throw NcclFailed(*outcome->ofNccl);
    return outcome->isDone;
  };
  try {
    wait([&] {
      if (isDone()) return true;
      communicator_->settled(name);  // NCCL tells here when a connection is lost that the GPU waits for
      return false;
    });
  } catch (...) {
    communicator_->abort();
    throw;
  }
  if (!outcome->ofDevice.empty()) throw Error("operation-failed", "A sum over GPUs failed: " + outcome->ofDevice + ".");
}

}  // namespace mora::ranks
