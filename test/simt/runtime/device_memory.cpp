#include "simt/runtime/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "simt/kernels/sanitizer.h"
#include "simt/runtime/settings.h"

namespace simt {

namespace {

constexpr size_t kPage = 4096, kHugePage = 2 << 20, kAlignment = 256;
constexpr int kReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static DeviceMemory& memory = *new DeviceMemory;
  return memory;
}

DeviceMemory::DeviceMemory() : used_(std::max(1, settings().devices)) {
  reserved_ = roundUp(16 * settings().memory * used_.size() + (64 << 20), kHugePage);
  void* range = mmap(nullptr, reserved_, PROT_NONE, kReserve, -1, 0);
  if (range == MAP_FAILED) std::abort();
  base_ = next_ = reinterpret_cast<char*>(roundUp(reinterpret_cast<uintptr_t>(range), kHugePage));
  reserved_ -= kHugePage;
}

char* DeviceMemory::findAddresses(size_t bytes) {
  // Huge pages are protected and unprotected quickly.
  const size_t alignment = bytes >= kHugePage ? kHugePage : kPage;
  const auto aligned = [&](char* address) { return base_ + roundUp(static_cast<size_t>(address - base_), alignment); };
  // Searches from next_ on, then once more from the start; a page stays free after each allocation.
  for (int round = 0; round < 2; ++round) {
    auto after = allocations_.upper_bound(next_);
    if (after != allocations_.begin()) {
      const Allocation& previous = std::prev(after)->second;
      next_ = std::max(next_, previous.pages + previous.pageBytes + kPage);
    }
    next_ = aligned(next_);
    for (; after != allocations_.end(); ++after) {
      if (next_ + bytes + kPage <= after->second.pages) break;
      next_ = aligned(after->second.pages + after->second.pageBytes + kPage);
    }
    if (next_ + bytes + kPage <= base_ + reserved_) return next_;
    next_ = base_;
  }
  return nullptr;
}

void* DeviceMemory::allocate(int device, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t taken = roundUp(std::max<size_t>(bytes, 1), kAlignment);
  if (taken < bytes || taken > settings().memory - used_[device]) return nullptr;
  const size_t pageBytes = roundUp(taken, kPage);
  char* pages = findAddresses(pageBytes);
  if (!pages || mprotect(pages, pageBytes, PROT_READ | PROT_WRITE) != 0) return nullptr;
  if (settings().compute && pageBytes >= kHugePage) madvise(pages, pageBytes, MADV_HUGEPAGE);
  char* address = pages + pageBytes - taken;
  if (settings().compute) std::memset(pages, 0xff, pageBytes);
  forbid(pages, pageBytes);
  allow(address, bytes);
  const Allocation allocation{pages, pageBytes, bytes, device};
  allocations_.emplace(address, allocation);
  used_[device] += taken;
  next_ = pages + pageBytes + kPage;
  protect(allocation);
  return address;
}

bool DeviceMemory::release(void* address) {
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(static_cast<char*>(address));
  if (found == allocations_.end()) return false;
  const Allocation& allocation = found->second;
  used_[allocation.device] -= roundUp(std::max<size_t>(allocation.bytes, 1), kAlignment);
  allow(allocation.pages, allocation.pageBytes);
  if (mmap(allocation.pages, allocation.pageBytes, PROT_NONE, kReserve | MAP_FIXED, -1, 0) == MAP_FAILED) std::abort();
  allocations_.erase(found);
  return true;
}

size_t DeviceMemory::used(int device) const {
  const std::lock_guard lock(mutex_);
  return used_[device];
}

bool DeviceMemory::reserved(const void* address) const { return address >= base_ && address < base_ + reserved_; }

bool DeviceMemory::allocated(const void* address, size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const char* start = static_cast<const char*>(address);
  auto after = allocations_.upper_bound(const_cast<char*>(start));
  if (after == allocations_.begin()) return false;
  const auto& [first, allocation] = *std::prev(after);
  return start + bytes <= first + allocation.bytes;
}

std::string DeviceMemory::describe(const void* address) const {
  const std::lock_guard lock(mutex_);
  const char* at = static_cast<const char*>(address);
  const auto after = allocations_.upper_bound(const_cast<char*>(at));
  if (after != allocations_.begin()) {
    const auto& [first, allocation] = *std::prev(after);
    const char* end = first + allocation.bytes;
    const std::string what = "an allocation of " + std::to_string(allocation.bytes) + " bytes";
    if (at < end) return "belongs to " + what + ": only kernels and copies may touch it";
    if (at < end + kPage) return "lies " + std::to_string(at - end) + " bytes after " + what;
  }
  return "was freed or never allocated";
}

void DeviceMemory::protect(const Allocation& allocation) const {
  if (!settings().protect) return;
  mprotect(allocation.pages, allocation.pageBytes, open_ ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void DeviceMemory::beginWork() {
  const std::lock_guard lock(mutex_);
  open_ = true;
  for (const auto& [address, allocation] : allocations_) protect(allocation);
}

void DeviceMemory::endWork() {
  const std::lock_guard lock(mutex_);
  open_ = false;
  for (const auto& [address, allocation] : allocations_) protect(allocation);
}

}  // namespace simt
