// A block's shared memory: dynamic memory first, then one place per declaration in the order in which threads reach
// them. All of it is NaN bits when a block starts; AddressSanitizer reports accesses between the places.
#pragma once
#include <cstddef>
#include <vector>

namespace simt {

/// A block's shared memory without opt-in, and the most that any device has.
constexpr size_t kSharedBytes = 48 << 10, kSharedBytesMost = 227 << 10;
/// The most that a block of this device may request.
size_t sharedBytesOptIn();

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void beginBlock(size_t dynamicBytes);
  void* dynamic() const { return memory_; }
  bool holds(const void* address, size_t bytes) const {
    return address >= memory_ && static_cast<const char*>(address) + bytes <= memory_ + used_;
  }
  /// Null if static memory exceeds 48 KiB, or the total the multiprocessor's.
  void* place(const void* key, size_t bytes);

 private:
  struct Place {
    const void* key;
    char* address;
  };

  char* take(size_t bytes);

  char* memory_;
  size_t used_ = 0, counted_ = 0, staticBytes_ = 0;
  std::vector<Place> places_;
};

}  // namespace simt
