// Fibers with Boost.Context's assembly: a stack with a guard page, and switches that are announced to the sanitizers.
#pragma once
#include <cstddef>

#include <boost/context/detail/fcontext.hpp>

#include "simt/kernels/sanitizer.h"

namespace simt {

class Fiber {
 public:
  /// Represents the calling OS thread.
  Fiber();
  /// A fiber that runs body(argument) when first switched to; body never returns. `colour` shifts the top of the stack,
  /// so that the stacks of many fibers do not share a few cache lines.
  Fiber(void (*body)(void*), void* argument, unsigned colour);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Continues in `next`; returns when another fiber switches back.
  void switchTo(Fiber& next);
  /// Restarts a fiber that is not running, as a new one to ThreadSanitizer.
  void restart();

 private:
  static void entry(boost::context::detail::transfer_t from);
  void prepare();

  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  char* stack_ = nullptr;  // null: the OS thread's own
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
  unsigned colour_ = 0;
  boost::context::detail::fcontext_t context_ = nullptr;
  void* fakeStack_ = nullptr;  // AddressSanitizer's
  void* identity_ = nullptr;   // ThreadSanitizer's
};

/// In the header because the processor mispredicts a return after a switch: fewer returns are faster.
inline __attribute__((always_inline)) void Fiber::switchTo(Fiber& next) {
  Fiber* arrival[] = {this, &next};
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&fakeStack_, next.bottom_, next.bytes_);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(next.identity_, 1);  // 1: no happens-before between the two
  const boost::context::detail::transfer_t from = boost::context::detail::jump_fcontext(next.context_, arrival);
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fakeStack_, nullptr, nullptr);
  static_cast<Fiber**>(from.data)[0]->context_ = from.fctx;
}

/// Makes ThreadSanitizer forget the writes to whole pages; their content is zero afterwards.
void forget(void* address, size_t bytes);

}  // namespace simt
