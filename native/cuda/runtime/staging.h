// A ring of pinned host memory that copies between host and device pass through: the copy engine reads and writes
// pinned memory only, and reading it is what makes a copy asynchronous.
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
  /// The longest slice: longer copies go in pieces.
  static constexpr size_t kPiece = size_t{4} << 20;

  /// Pinned memory that goes back to the ring when the last holder lets go of it, in any thread and in any order.
  using Slice = std::shared_ptr<std::byte>;

  Staging();
  /// Up to kPiece bytes; waits for older slices where the ring is full. For one thread.
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
  uint64_t head_ = 0, tail_ = 0;  // count bytes without end; the place in the ring is the remainder
  std::deque<Taken> taken_;       // from tail_ to head_
};

}  // namespace mora::cuda
