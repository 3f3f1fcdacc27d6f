// Tells the sanitizers about fibers, memory and meeting points. The emulator itself is compiled without sanitizers; in
// programs without them these functions do nothing.
#pragma once
#include <cstddef>

extern "C" {
#define SIMT_WEAK __attribute__((weak))
SIMT_WEAK void* __tsan_get_current_fiber();
SIMT_WEAK void* __tsan_create_fiber(unsigned flags);
SIMT_WEAK void __tsan_destroy_fiber(void* fiber);
SIMT_WEAK void __tsan_switch_to_fiber(void* fiber, unsigned flags);
SIMT_WEAK void __tsan_acquire(void* tag);
SIMT_WEAK void __tsan_release(void* tag);
SIMT_WEAK void AnnotateIgnoreReadsBegin(const char* file, int line);
SIMT_WEAK void AnnotateIgnoreReadsEnd(const char* file, int line);
SIMT_WEAK void AnnotateIgnoreWritesBegin(const char* file, int line);
SIMT_WEAK void AnnotateIgnoreWritesEnd(const char* file, int line);
SIMT_WEAK void __asan_poison_memory_region(const volatile void* address, size_t bytes);
SIMT_WEAK void __asan_unpoison_memory_region(const volatile void* address, size_t bytes);
SIMT_WEAK void __sanitizer_start_switch_fiber(void** fakeStack, const void* bottom, size_t bytes);
SIMT_WEAK void __sanitizer_finish_switch_fiber(void* fakeStack, const void** bottom, size_t* bytes);
#undef SIMT_WEAK
}

namespace simt {

inline bool underThreadSanitizer() { return __tsan_create_fiber != nullptr; }
inline bool underAddressSanitizer() { return __asan_poison_memory_region != nullptr; }

/// Everything before release(tag) happens before what follows acquire(tag).
inline void release(void* tag) {
  if (__tsan_release) __tsan_release(tag);
}
inline void acquire(void* tag) {
  if (__tsan_acquire) __tsan_acquire(tag);
}

/// During its lifetime, ThreadSanitizer ignores the calling thread's reads and writes.
class Unseen {
 public:
  Unseen() {
    if (!AnnotateIgnoreReadsBegin) return;
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    if (!AnnotateIgnoreReadsEnd) return;
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

inline void forbid(void* address, size_t bytes) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(address, bytes);
}
inline void allow(void* address, size_t bytes) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(address, bytes);
}

}  // namespace simt
