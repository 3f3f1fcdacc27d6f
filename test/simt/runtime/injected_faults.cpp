#include "simt/runtime/injected_faults.h"

#include <atomic>

#include "simt/runtime/settings.h"

namespace simt {

namespace {

/// `answer` from call number `from` on (counted from 1); before that, or without a fault, 0.
int answerOf(const Fault& fault, std::atomic<uint64_t>& calls) {
  return fault.from > 0 && ++calls >= fault.from ? fault.answer : 0;
}

}  // namespace

cudaError_t deviceFault() {
  static std::atomic<uint64_t> calls = 0;
  return static_cast<cudaError_t>(answerOf(settings().deviceFault, calls));
}

bool allocationFault() {
  static std::atomic<uint64_t> calls = 0;
  const uint64_t chosen = settings().allocationFault;
  return chosen > 0 && ++calls == chosen;
}

int32_t cublasFault() {
  static std::atomic<uint64_t> calls = 0;
  return answerOf(settings().cublasFault, calls);
}

}  // namespace simt
