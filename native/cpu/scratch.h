// Scratch memory of the CPU's operations: an arena for each thread, in scopes. A scope's memory is free when it ends,
// and is reused: once an arena has seen its largest operation, nothing more is allocated.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mora::cpu {

class ScratchArena;

/// A scope on the calling thread, for its lifetime. Scopes nest; only the innermost gives out memory, which other
/// threads may use, too, during the scope.
class Scratch {
 public:
  static constexpr size_t kAlignment = 128;  // so that neighbours share no cache line

  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// Memory for `count` values, aligned and uninitialised. Throws std::bad_alloc.
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  void* bytes(size_t count);

 private:
  ScratchArena& arena_;
  // The arena's position at the start.
  size_t chunk_, used_, live_;
  int depth_;
};

}  // namespace mora::cpu
