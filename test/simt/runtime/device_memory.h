// Device memory: a separate address range. Only allocated memory has pages, which are accessible only while the
// stand-in works on a stream. Fresh memory is NaN bits; the pages of freed memory are unmapped, and their addresses are
// reused as late as possible. An allocation ends at the end of its last page, as far as its 256-byte alignment allows.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace simt {

class DeviceMemory {
 public:
  static DeviceMemory& instance();

  /// Null if the device has less than `bytes` left.
  void* allocate(int device, size_t bytes);
  /// Frees an allocation, which must not be in use. Returns false if there is none at that address.
  bool release(void* address);
  size_t used(int device) const;

  bool reserved(const void* address) const;
  /// Whether all bytes are in one allocation.
  bool allocated(const void* address, size_t bytes) const;
  /// "is freed memory", "lies 4 bytes after an allocation of 256 bytes", ...
  std::string describe(const void* address) const;

  /// Makes the memory accessible between the two calls.
  void beginWork();
  void endWork();
  bool open() const { return open_; }

 private:
  struct Allocation {
    char* pages;
    size_t pageBytes, bytes;
    int device;
  };

  DeviceMemory();
  char* findAddresses(size_t bytes);
  void protect(const Allocation& allocation) const;

  mutable std::recursive_mutex mutex_;
  char* base_;
  size_t reserved_;
  char* next_;  // where the search for addresses continues
  std::map<char*, Allocation> allocations_;
  std::vector<size_t> used_;
  std::atomic<bool> open_ = false;
};

}  // namespace simt
