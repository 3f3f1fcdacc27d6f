#include "core/system/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <new>

namespace mora {

// If the process is limited (ulimit -v), half is left to the rest of it.
AddressRange::AddressRange(uint64_t bytes) : bytes_(bytes) {
  rlimit addresses{};
  if (getrlimit(RLIMIT_AS, &addresses) == 0) bytes_ = std::min<uint64_t>(bytes_, addresses.rlim_cur / 2);
  for (; bytes_ >= (uint64_t{1} << 24); bytes_ /= 2) {
    void* base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) continue;
#ifdef MADV_HUGEPAGE
    madvise(base, bytes_, MADV_HUGEPAGE);
#endif
    data_ = static_cast<std::byte*>(base);
    return;
  }
  throw std::bad_alloc();
}

bool AddressRange::use(uint64_t) { return true; }

void AddressRange::release(uint64_t offset, uint64_t bytes) {
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t from = (offset + page - 1) / page * page, to = (offset + bytes) / page * page;
  if (to > from) madvise(data_ + from, to - from, MADV_DONTNEED);
}

// glibc returns freed memory to the system from 128 KiB on, until a large block is freed; then from twice its size.
// Without this, up to 8 MiB that oneDNN frees while making its primitives would stay in the process.
void keepTrimming() {
#ifdef __GLIBC__
  static const bool kept [[maybe_unused]] = mallopt(M_TRIM_THRESHOLD, 128 << 10) == 1;
#endif
}

void trimHeap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace mora
