// A ring of pinned host memory for copies between host and device: the copy engine accesses pinned memory only, and
// copies are asynchronous only from and to pinned memory.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

namespace mora::cuda {

class Staging {
 public:
  /// The longest slice; longer copies are split.
  static constexpr size_t kPiece = size_t{4} << 20;

  /// Pinned memory that returns to the ring when the last holder releases it, on any thread and in any order.
  using Slice = std::shared_ptr<std::byte>;

  Staging();
  /// Takes up to kPiece bytes; waits for older slices if the ring is full. For one thread.
  Slice take(size_t bytes);

 private:
  static constexpr size_t kBytes = 4 * kPiece;

  struct Taken {
    uint64_t end;
    bool released;
  };

  void release(uint64_t end);

  std::byte* base_ = nullptr;
  std::mutex mutex_;
  std::condition_variable released_;
  uint64_t head_ = 0, tail_ = 0;  // counted without wrapping; the place in the ring is the remainder
  std::deque<Taken> taken_;       // from tail_ to head_
};

}  // namespace mora::cuda
