// Sums over the GPUs of several ranks, by NCCL.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ranks/nccl_library.h"

namespace mora::ranks {

/// What NCCL says of a failure. Where `another`, the cause may be that another rank is gone, which NCCL does not name.
struct NcclFailed : Error {
  NcclFailed(const std::string& what, bool another) : Error("ranks-failed", what), another(another) {}
  bool another;
};

/// This process's GPU among those of all ranks. All ranks make the same calls in the same order.
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

  /// Adds up dense f32 tensors of the device in place, beside what is enqueued afterwards; every rank gets the same
  /// bits. Returns once all of it is done.
  void sum(const std::vector<Tensor>& tensors, const Wait& wait);

 private:
  struct Communicator;
  void run(const char* name, const std::function<void(Communicator&, void* stream)>& issue,
           const std::vector<Tensor>& tensors, const Wait& wait);

  Device& device_;
  const std::shared_ptr<Communicator> communicator_;
};

}  // namespace mora::ranks
