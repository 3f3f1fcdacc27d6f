#include "simt/kernels/shared_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "simt/kernels/fiber.h"
#include "simt/kernels/sanitizer.h"
#include "simt/runtime/settings.h"

namespace simt {

namespace {

constexpr size_t kGap = 128;                                       // forbidden bytes after each place, and alignment
constexpr size_t kReserved = 2 * kSharedBytesMost / 4096 * 4096;  // gaps included

}  // namespace

// The most that a block can have: CUDA C++ programming guide, technical specifications by compute capability.
size_t sharedBytesOptIn() {
  const int capability = settings().capability;
  const bool small = capability == 86 || capability == 89 || capability >= 120;
  return size_t{small ? 99u : capability < 90 ? 163u : 227u} << 10;
}

SharedMemory::SharedMemory() {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* pages = mmap(nullptr, kReserved, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (pages == MAP_FAILED) std::abort();
  memory_ = static_cast<char*>(pages);
}

SharedMemory::~SharedMemory() {
  allow(memory_, kReserved);
  munmap(memory_, kReserved);
}

char* SharedMemory::take(size_t bytes) {
  char* address = memory_ + used_;
  allow(address, bytes);
  const Unseen unseen;
  std::memset(address, 0xff, bytes);
  used_ += (bytes + kGap - 1) / kGap * kGap + (underAddressSanitizer() ? kGap : 0);
  counted_ += bytes;
  return address;
}

void SharedMemory::beginBlock(size_t dynamicBytes) {
  if (underThreadSanitizer()) forget(memory_, kReserved);
  if (underAddressSanitizer()) forbid(memory_, kReserved);
  used_ = counted_ = staticBytes_ = 0;
  places_.clear();
  take(dynamicBytes);
}

void* SharedMemory::place(const void* key, size_t bytes) {
  for (const Place& place : places_)
    if (place.key == key) return place.address;
  if ((staticBytes_ += bytes) > kSharedBytes || counted_ + bytes > sharedBytesOptIn()) return nullptr;
  if (used_ + bytes + 2 * kGap > kReserved) return nullptr;
  places_.push_back({key, take(bytes)});
  return places_.back().address;
}

}  // namespace simt
