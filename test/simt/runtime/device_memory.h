// Device memory: an address range of its own. Only what is allocated has pages, and they can be touched only while the
// stand-in works on a stream. Fresh memory is NaN bits; the pages of freed memory are gone, and their addresses are
// used again as late as possible. An allocation ends where its last page ends, as well as its 256-byte alignment
// allows.
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

  /// Null when the device has less than `bytes` left.
  void* allocate(int device, size_t bytes);
  /// False where nothing is allocated at that address. Nothing may work on the memory any longer.
  bool release(void* address);
  size_t used(int device) const;

  bool reserved(const void* address) const;
  /// Whether all bytes lie in one allocation.
  bool allocated(const void* address, size_t bytes) const;
  /// "is freed memory", "lies 4 bytes after an allocation of 256 bytes", ...
  std::string describe(const void* address) const;

  /// Lets the memory be touched between the two calls.
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
  char* next_;  // where the search for addresses goes on
  std::map<char*, Allocation> allocations_;
  std::vector<size_t> used_;
  std::atomic<bool> open_ = false;
};

}  // namespace simt
