#include "cuda/runtime/memory.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>

namespace mora::cuda {
namespace {

/// Segments are multiples of a GPU's page size.
constexpr uint64_t kPage = uint64_t{2} << 20;
/// A new segment exceeds the request by an eighth of all memory held, within these bounds, so that segments are few and
/// little memory stays unused.
constexpr uint64_t kSmallest = uint64_t{32} << 20, kLargest = uint64_t{1} << 30;

uint64_t roundUp(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

Memory::Outcome Memory::allocate(size_t bytes, void** data) {
  const std::lock_guard lock(mutex_);
  if (!fits(bytes)) return Outcome::overLimit;
  std::byte* block = allocateInSegments(bytes);
  if (!block) {
    if (!addSegment(bytes)) return Outcome::full;
    block = allocateInSegments(bytes);
  }
  *data = block;
  peak_ = std::max(peak_, inUse());
  return Outcome::ok;
}

std::byte* Memory::allocateInSegments(size_t bytes) {
  for (const std::unique_ptr<Segment>& segment : segments_) {
    const uint64_t before = segment->arena.inUse(), offset = segment->arena.allocate(bytes);
    if (offset == Arena::kNone) continue;
    blockBytes_ += segment->arena.inUse() - before;
    return segment->base + offset;
  }
  return nullptr;
}

bool Memory::addSegment(size_t bytes) {
  const uint64_t exact = roundUp(std::max<size_t>(bytes, 1));
  const uint64_t roomy = std::max(exact, roundUp(std::clamp(held() / 8, kSmallest, kLargest)));
  for (const uint64_t size : {roomy, exact}) {
    if (size != exact && limit_ > 0 && held() + size > limit_) continue;
    auto* const base = static_cast<std::byte*>(allocateFromSystem(size));
    if (!base) continue;
    segments_.push_back(std::make_unique<Segment>(Segment{base, size, Arena(size), 0}));
    segmentBytes_ += size;
    return true;
  }
  return false;
}

void* Memory::allocateFromSystem(size_t bytes) {
  void* data = nullptr;
  if (cudaSetDevice(device_) == cudaSuccess && cudaMalloc(&data, bytes) == cudaSuccess) return data;
  cudaGetLastError();  // the next check must not see it
  return nullptr;
}

void Memory::release(void* data, const std::function<uint64_t(uint64_t bytes)>& released) {
  const std::lock_guard lock(mutex_);
  auto* const block = static_cast<std::byte*>(data);
  for (const std::unique_ptr<Segment>& segment : segments_) {
    if (block < segment->base || block >= segment->base + segment->bytes) continue;
    const uint64_t before = segment->arena.inUse();
    segment->arena.release(static_cast<uint64_t>(block - segment->base));
    const uint64_t bytes = before - segment->arena.inUse();
    blockBytes_ -= bytes;
    if (released) segment->lastUse = released(bytes);
    return;
  }
  throw std::logic_error("released a block that is in no segment");
}

void* Memory::allocateWorking(size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!fits(bytes)) return nullptr;
  void* const data = allocateFromSystem(bytes);
  if (!data) return nullptr;
  workingBytes_ += bytes;
  peak_ = std::max(peak_, inUse());
  return data;
}

void Memory::releaseWorking(void* data, size_t bytes) {
  cudaFree(data);
  const std::lock_guard lock(mutex_);
  workingBytes_ -= bytes;
}

std::vector<void*> Memory::takeUnused(uint64_t issued) {
  const std::lock_guard lock(mutex_);
  std::vector<void*> unused;
  std::erase_if(segments_, [&](const std::unique_ptr<Segment>& segment) {
    if (segment->arena.inUse() > 0 || segment->lastUse > issued) return false;
    unused.push_back(segment->base);
    segmentBytes_ -= segment->bytes;
    return true;
  });
  return unused;
}

MemoryFigures Memory::figures() {
  const std::lock_guard lock(mutex_);
  return {inUse(), peak_, segmentBytes_ - blockBytes_, limit_, workingBytes_};
}

void Memory::setLimit(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
}

void Memory::resetPeak() {
  const std::lock_guard lock(mutex_);
  peak_ = inUse();
}

}  // namespace mora::cuda
