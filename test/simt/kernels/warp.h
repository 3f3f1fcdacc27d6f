// Barriers and warp operations of kernels, under CUDA's names. Reading from a lane that does not participate is
// undefined on a GPU: here it returns NaN bits. As on a GPU, shuffles and votes are no memory barriers: lanes that
// communicate through memory need __syncwarp. So ThreadSanitizer sees no order at them, and does not see what they
// exchange.
#pragma once
#include <cstring>

#include "simt/kernels/kernel_thread.h"

#if defined(__SANITIZE_THREAD__)
#define SIMT_UNSEEN __attribute__((no_sanitize("thread")))
#else
#define SIMT_UNSEEN
#endif

namespace simt {

template <typename T>
struct Exchange {
  T value;
  unsigned source;  // lane
  T result;

  SIMT_UNSEEN static void complete(void* const operands[32], uint32_t lanes) {
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      auto* mine = static_cast<Exchange*>(operands[__builtin_ctz(rest)]);
      if (lanes >> mine->source & 1)
        mine->result = static_cast<Exchange*>(operands[mine->source])->value;
      else
        std::memset(&mine->result, 0xff, sizeof(T));
    }
  }
};

template <typename T>
SIMT_UNSEEN T exchange(uint32_t mask, T value, unsigned source, const char* operation, std::source_location where) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  Exchange<T> operand{value, source, value};
  meet(mask, &operand, &Exchange<T>::complete, operation, where);
  return operand.result;
}

struct Vote {
  bool holds;
  uint32_t ballot, lanes;

  SIMT_UNSEEN static void complete(void* const operands[32], uint32_t lanes) {
    uint32_t ballot = 0;
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      ballot |= uint32_t{static_cast<Vote*>(operands[lane])->holds} << lane;
    }
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      auto* mine = static_cast<Vote*>(operands[__builtin_ctz(rest)]);
      mine->ballot = ballot;
      mine->lanes = lanes;
    }
  }
};

SIMT_UNSEEN inline Vote vote(uint32_t mask, bool holds, const char* operation, std::source_location where) {
  Vote operand{holds, 0, 0};
  meet(mask, &operand, &Vote::complete, operation, where);
  return operand;
}

}  // namespace simt

#define SIMT_HERE std::source_location where = std::source_location::current()

inline void __syncthreads(SIMT_HERE) { simt::meetBlock(false, "__syncthreads", where); }
inline int __syncthreads_count(int predicate, SIMT_HERE) {
  return static_cast<int>(simt::meetBlock(predicate != 0, "__syncthreads_count", where));
}
inline int __syncthreads_or(int predicate, SIMT_HERE) {
  return simt::meetBlock(predicate != 0, "__syncthreads_or", where) > 0;
}
inline int __syncthreads_and(int predicate, SIMT_HERE) {
  return simt::meetBlock(predicate == 0, "__syncthreads_and", where) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_HERE) {
  simt::meet(mask, nullptr, nullptr, "__syncwarp", where);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::currentLane, first = lane & ~(width - 1u);
  return simt::exchange(mask, value, first + (static_cast<unsigned>(source) & (width - 1u)), "__shfl_sync", where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int laneMask, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::currentLane, source = lane ^ static_cast<unsigned>(laneMask);
  // Lanes of later segments are out of range, those of earlier ones are not.
  const unsigned last = lane | (width - 1u);
  return simt::exchange(mask, value, source > last ? lane : source, "__shfl_xor_sync", where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::currentLane, last = lane | (width - 1u);
  return simt::exchange(mask, value, lane + delta > last ? lane : lane + delta, "__shfl_down_sync", where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const unsigned lane = simt::currentLane, first = lane & ~(width - 1u);
  return simt::exchange(mask, value, lane < first + delta ? lane : lane - delta, "__shfl_up_sync", where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_HERE) {
  return simt::vote(mask, predicate != 0, "__ballot_sync", where).ballot;
}
inline int __any_sync(unsigned mask, int predicate, SIMT_HERE) {
  return simt::vote(mask, predicate != 0, "__any_sync", where).ballot != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_HERE) {
  const simt::Vote result = simt::vote(mask, predicate != 0, "__all_sync", where);
  return result.ballot == result.lanes;
}

#undef SIMT_HERE
#undef SIMT_UNSEEN
