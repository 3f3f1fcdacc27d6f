#include "simt/kernels/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>

#include "simt/kernels/sanitizer.h"

namespace simt {

namespace {

using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr size_t kGuard = 4096, kStack = 128 << 10;

}  // namespace

void forget(void* address, size_t bytes) {
  const Unseen unseen;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (mmap(address, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) std::abort();
}

Fiber::Fiber() {
  pthread_attr_t attributes;
  void* bottom = nullptr;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &bottom, &bytes_);
    pthread_attr_destroy(&attributes);
  }
  bottom_ = bottom;
  if (__tsan_get_current_fiber) identity_ = __tsan_get_current_fiber();
}

Fiber::Fiber(void (*body)(void*), void* argument, unsigned colour) : body_(body), argument_(argument), colour_(colour) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* pages = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (pages == MAP_FAILED || mprotect(pages, kGuard, PROT_NONE) != 0) std::abort();
  stack_ = static_cast<char*>(pages);
  bottom_ = stack_ + kGuard;
  bytes_ = kStack;
  prepare();
}

Fiber::~Fiber() {
  if (!stack_) return;
  if (identity_) __tsan_destroy_fiber(identity_);
  munmap(stack_, kGuard + kStack);
}

void Fiber::prepare() {
  if (__tsan_create_fiber) identity_ = __tsan_create_fiber(0);
  context_ = make_fcontext(stack_ + kGuard + kStack - 256 * (colour_ % 32), kStack - 256 * (colour_ % 32), &entry);
}

void Fiber::restart() {
  if (identity_) __tsan_destroy_fiber(identity_);
  forget(stack_ + kGuard, kStack);
  prepare();
}

void Fiber::entry(transfer_t from) {
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
  Fiber** arrival = static_cast<Fiber**>(from.data);
  arrival[0]->context_ = from.fctx;
  Fiber* self = arrival[1];
  self->body_(self->argument_);
  std::abort();
}

}  // namespace simt
