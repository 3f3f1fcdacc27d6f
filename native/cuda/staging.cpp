#include "cuda/staging.h"

#include <algorithm>

#include "cuda/check.h"

namespace mora::cuda {

Staging::Staging() { check(cudaHostAlloc(&base_, kBytes, cudaHostAllocPortable), "pinned memory for copies"); }

Staging::Slice Staging::take(size_t bytes) {
  constexpr uint64_t kAlignment = 64;
  const uint64_t size = (std::max<uint64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  std::unique_lock lock(mutex_);
  if (head_ % kBytes + size > kBytes) head_ += kBytes - head_ % kBytes;  // a slice does not wrap around
  released_.wait(lock, [&] { return head_ + size <= tail_ + kBytes; });
  std::byte* const data = base_ + head_ % kBytes;
  head_ += size;
  return {data, head_};
}

void Staging::release(const Slice& slice) {
  {
    const std::lock_guard lock(mutex_);
    tail_ = std::max(tail_, slice.end);
  }
  released_.notify_one();
}

}  // namespace mora::cuda
