// Times launchers of native/cuda one by one, by CUDA events, beside what the device could do at best. Operands come
// from memory: between two runs, more is read than the second-level cache holds.
#pragma once
#include <functional>
#include <string>

#include "cuda/launch_cost.h"
#include "cuda_context.h"

namespace mora::bench {

/// Highest rates by the device's clocks; 0 where they are not known.
struct Roofline {
  double bytesPerSecond, bfloat16FlopsPerSecond;

  /// What moves and computes so much takes at least so many seconds.
  double seconds(const cuda::LaunchCost& cost) const;
};
Roofline rooflineOf(int device);

class Bench {
 public:
  /// `wants` says which operations are timed, `evictedBytes` how much is read between two runs.
  Bench(std::function<bool(const std::string&)> wants, const Roofline& roofline, int repeats, size_t evictedBytes);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  /// Runs `launch` once to warm up and `repeats` times, and prints a line, if the operation is wanted. Throws
  /// mora::Error where a kernel fails or finds its operands wrong.
  void time(const std::string& operation, const std::string& shape, const std::function<void(cuda::Context&)>& launch);

  static void printHeader();
  int timed() const { return timed_; }

 private:
  void evict();

  test::TestContext test_;
  std::function<bool(const std::string&)> wants_;
  Roofline roofline_;
  int repeats_, timed_ = 0;
  TensorDesc other_, count_;
};

}  // namespace mora::bench
