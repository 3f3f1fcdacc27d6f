// Atomic operations and memory fences of kernels. Under ThreadSanitizer a fence publishes its thread's writes, and an
// atomic operation sees what was published before it: a missing fence is found on the writer's side.
#pragma once
#include <type_traits>

namespace simt {

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
extern char fenceTag;
inline void publish() { __tsan_release(&fenceTag); }
inline void observe() { __tsan_acquire(&fenceTag); }
#else
inline void publish() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void observe() {}
#endif

/// Atomically replaces the value by change(value) and returns the old one.
template <typename T, typename Change>
T atomically(T* address, Change change) {
  T old, next;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    next = change(old);
  } while (!__atomic_compare_exchange(address, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  observe();
  return old;
}

template <typename T>
concept Atomic = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long> ||
    std::is_same_v<T, float> || std::is_same_v<T, double>;
template <typename T>
concept AtomicInteger = Atomic<T> && std::is_integral_v<T>;

}  // namespace simt

template <simt::Atomic T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return static_cast<T>(old + value); });
}
template <simt::AtomicInteger T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return static_cast<T>(old - value); });
}
template <simt::AtomicInteger T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return old < value ? old : value; });
}
template <simt::AtomicInteger T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return old < value ? value : old; });
}
template <simt::AtomicInteger T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return static_cast<T>(old | value); });
}
template <simt::AtomicInteger T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return static_cast<T>(old & value); });
}
template <simt::Atomic T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T) { return value; });
}
template <simt::AtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T old) { return old == expected ? value : old; });
}

inline void __threadfence() {
  simt::publish();
  simt::observe();
}
inline void __threadfence_block() { __threadfence(); }
