// Scratch memory of the CPU's operations: an arena for each thread, in scopes. What is taken in a scope is free again
// when it ends, and serves the next one: once an arena has seen its largest operation, nothing is allocated any more.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mora::cpu {

class ScratchArena;

/// A scope on the calling thread, from its construction to its end. Scopes nest; only the innermost gives memory, which
/// other threads may use too as long as it lasts.
class Scratch {
 public:
  static constexpr size_t kAlignment = 128;  // neighbours share no line of a cache

  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// Room for `count` values, aligned, with anything in it. Throws std::bad_alloc.
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  void* bytes(size_t count);

 private:
  ScratchArena& arena_;
  // Where the arena stood.
  size_t chunk_, used_, live_;
  int depth_;
};

}  // namespace mora::cpu
