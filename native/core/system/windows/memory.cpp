#include "core/system/memory.h"

#include <windows.h>

#include <algorithm>
#include <new>

namespace mora {

AddressRange::AddressRange(uint64_t bytes) : bytes_(bytes) {
  for (; bytes_ >= (uint64_t{1} << 24); bytes_ /= 2) {
    data_ = static_cast<std::byte*>(VirtualAlloc(nullptr, bytes_, MEM_RESERVE, PAGE_READWRITE));
    if (data_) return;
  }
  throw std::bad_alloc();
}

// Windows promises memory to addresses before they are written, in steps here, since a call takes microseconds.
bool AddressRange::use(uint64_t end) {
  constexpr uint64_t kStep = uint64_t{4} << 20;
  if (end <= usable_) return true;
  for (const uint64_t to : {std::min((end + kStep - 1) / kStep * kStep, bytes_), end}) {
    if (!VirtualAlloc(data_ + usable_, to - usable_, MEM_COMMIT, PAGE_READWRITE)) continue;
    usable_ = to;
    return true;
  }
  return false;
}

void AddressRange::release(uint64_t offset, uint64_t bytes) {
  constexpr uint64_t kPage = 4096;
  const uint64_t from = (offset + kPage - 1) / kPage * kPage, to = (offset + bytes) / kPage * kPage;
  if (to <= from) return;
  // Drops the content, then takes the pages from the process.
  VirtualAlloc(data_ + from, to - from, MEM_RESET, PAGE_READWRITE);
  VirtualUnlock(data_ + from, to - from);
}

void keepTrimming() {}

void trimHeap() { HeapCompact(GetProcessHeap(), 0); }

}  // namespace mora
