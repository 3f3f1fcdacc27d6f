// Memory by pages.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mora {

/// A range of reserved addresses, for as long as the process lives. They take no memory until they are written.
class AddressRange {
 public:
  /// Reserves at most `bytes`, less if the system allows less. Throws std::bad_alloc.
  explicit AddressRange(uint64_t bytes);

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

  /// Makes the first `end` bytes usable; false if the system has no memory for that. Not by two threads at a time.
  bool use(uint64_t end);
  /// Returns the memory of the whole pages of a usable part to the system. The part stays usable; its content is lost.
  void release(uint64_t offset, uint64_t bytes);

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_, usable_ = 0;
};

/// Makes the C library return freed memory to the system early.
void keepTrimming();

/// Returns what the C library keeps of freed memory to the system.
void trimHeap();

}  // namespace mora
