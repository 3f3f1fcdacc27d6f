// A ring of pinned host memory that copies between host and device pass through: the copy engine reads and writes
// pinned memory only, and reading it is what makes a copy asynchronous.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace mora::cuda {

class Staging {
 public:
  /// The longest slice: longer copies go in pieces.
  static constexpr size_t kPiece = size_t{4} << 20;

  struct Slice {
    std::byte* data;
    uint64_t end;  // for `release`
  };

  Staging();
  /// Up to kPiece bytes; waits until older slices are released where the ring is full. For one thread.
  Slice take(size_t bytes);
  /// Releases a slice and all before it. From any thread.
  void release(const Slice& slice);

 private:
  static constexpr size_t kBytes = 4 * kPiece;

  std::byte* base_ = nullptr;
  std::mutex mutex_;
  std::condition_variable released_;
  uint64_t head_ = 0, tail_ = 0;  // count bytes without end; the place in the ring is the remainder
};

}  // namespace mora::cuda
