// What the GPUs of several ranks do together, by NCCL.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ranks/engine.h"
#include "ranks/nccl_library.h"

namespace mora::ranks {

/// What NCCL says of a failure. Where `another`, the cause may be that another rank is gone, which NCCL does not name.
struct NcclFailed : Error {
  NcclFailed(const std::string& what, bool another) : Error("ranks-failed", what), another(another) {}
  bool another;
};

/// A collective that this rank has begun.
struct NcclWork {
  const Kind kind;
  /// As many on all ranks.
  const uint64_t values;
  // What the device's threads tell the one that waits.
  std::mutex mutex = {};
  bool isDone = false;
  std::optional<NcclFailed> ofNccl = {};
  std::string ofDevice = {};
};

/// This process's GPU among those of all ranks. All ranks make the same calls in the same order. What they begin goes
/// on beside what is enqueued on the device afterwards, once all that was enqueued before is done.
class NcclRanks {
 public:
  /// Returns once the condition holds; throws where there is no point in waiting any more.
  using Wait = std::function<void(const std::function<bool()>& isDone)>;

  /// Returns once the GPUs of all ranks are connected.
  NcclRanks(const Nccl& library, Device& device, const NcclId& id, int rank, int size, const Wait& wait);
  /// Ends what is under way; other ranks do not hear of it.
  ~NcclRanks();
  NcclRanks(const NcclRanks&) = delete;
  NcclRanks& operator=(const NcclRanks&) = delete;

  /// Adds up dense f32 tensors of the device in place; every rank gets the same bits. Any thread may call this.
  std::shared_ptr<NcclWork> sum(const std::vector<Tensor>& tensors);
  /// all [size, n] = what each rank gives [n], both bytes of the device. Any thread may call this.
  std::shared_ptr<NcclWork> gather(const Tensor& given, const Tensor& all);
  /// Returns once it is done, on all ranks.
  void finish(NcclWork& work, const Wait& wait);
  /// Ends what is under way, and all that follows.
  void abort();

 private:
  struct Communicator;
  using Issue = std::function<void(Communicator&, void* stream)>;
  std::shared_ptr<NcclWork> begin(Kind kind, uint64_t values, const Issue& issue, const std::vector<Tensor>& tensors);

  Device& device_;
  const std::shared_ptr<Communicator> communicator_;
};

}  // namespace mora::ranks
