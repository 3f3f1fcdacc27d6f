#include "core/system/memory.h"

#include <malloc/malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace mora {
namespace {

void* mapped(void* at, uint64_t bytes, int flags) {
  return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | flags, -1, 0);
}

}  // namespace

AddressRange::AddressRange(uint64_t bytes) : bytes_(bytes) {
  for (; bytes_ >= (uint64_t{1} << 24); bytes_ /= 2) {
    void* const base = mapped(nullptr, bytes_, MAP_NORESERVE);
    if (base == MAP_FAILED) continue;
    data_ = static_cast<std::byte*>(base);
    return;
  }
  throw std::bad_alloc();
}

bool AddressRange::use(uint64_t) { return true; }

// macOS keeps the pages that madvise names until it needs them; new ones in their place have no memory.
void AddressRange::release(uint64_t offset, uint64_t bytes) {
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t from = (offset + page - 1) / page * page, to = (offset + bytes) / page * page;
  if (to > from) mapped(data_ + from, to - from, MAP_NORESERVE | MAP_FIXED);
}

void keepTrimming() {}

void trimHeap() { malloc_zone_pressure_relief(nullptr, 0); }

}  // namespace mora
