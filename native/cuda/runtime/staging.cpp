#include "cuda/runtime/staging.h"

#include <algorithm>

#include "cuda/runtime/check.h"

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
  taken_.push_back({head_, false});
  return Slice(data, [this, end = head_](std::byte*) { release(end); });
}

void Staging::release(uint64_t end) {
  {
    const std::lock_guard lock(mutex_);
    std::find_if(taken_.begin(), taken_.end(), [&](const Taken& slice) { return slice.end == end; })->released = true;
    for (; !taken_.empty() && taken_.front().released; taken_.pop_front()) tail_ = taken_.front().end;
  }
  released_.notify_one();
}

}  // namespace mora::cuda
