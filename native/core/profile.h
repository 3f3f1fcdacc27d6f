// Sums calls, time, arithmetic and bytes of every operation, by its name and sizes.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "core/descriptor.h"

namespace mora {

/// Arithmetic that depends on the values of tensors: that of every pair of a query and a key it sees.
struct PairCost {
  TensorDesc queryOffsets, keyOffsets;
  int64_t window;  // see AttentionScoring
  double flopsPerPair;

  int64_t count() const { return queryOffsets.shape[0]; }
};

/// The profile's figures of a call, without its time.
struct Cost {
  double flops = 0, bytes = 0;
  std::string label;
  std::optional<PairCost> pairs;
};

class Profile {
 public:
  /// Turning it on resets all figures.
  void turn(bool on);
  bool on() const { return on_; }
  void add(const char* operation, const Cost& cost, double seconds);
  /// A JSON list of {operation, label, calls, seconds, flops, bytes}.
  std::string report();
  /// The report as core/backend.h's profileReport returns it.
  Status copyReport(char* json, size_t capacity, size_t* needed);

 private:
  struct Measured {
    uint64_t calls = 0;
    double seconds = 0, flops = 0, bytes = 0;
  };
  std::mutex mutex_;
  std::atomic<bool> on_ = false;
  std::map<std::pair<std::string, std::string>, Measured> measured_;
};

template <typename T>
uint64_t bytesOf(const T&) {
  return 0;
}
inline uint64_t bytesOf(const TensorList& list) {
  uint64_t bytes = 0;
  for (int64_t i = 0; i < list.count; ++i) bytes += bytesOf(list.tensors[i]);
  return bytes;
}
/// Bytes of every present tensor among the arguments.
template <typename... Args>
Cost costOf(const Args&... args) {
  Cost cost;
  cost.bytes = static_cast<double>((bytesOf(args) + ... + uint64_t{0}));
  return cost;
}

Cost matmulCost(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                float alpha, bool accumulate);
Cost matmulInt8Cost(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, bool accumulate);
Cost matmulCodesCost(const TensorDesc& a, const CodedMatrix& b, bool transposeB, const TensorDesc& c, float alpha,
                     bool accumulate);
Cost attentionCost(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v, const TensorDesc& queryOffsets,
                   const TensorDesc& keyOffsets, const AttentionScoring& scoring, const TensorDesc& out,
                   const TensorDesc& lse, const TensorDesc& keyRows);
Cost attentionBackwardCost(const TensorDesc& dOut, const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                           const TensorDesc& out, const TensorDesc& lse, const TensorDesc& queryOffsets,
                           const TensorDesc& keyOffsets, const AttentionScoring& scoring, const TensorDesc& dQ,
                           const TensorDesc& dK, const TensorDesc& dV);
/// Adds arithmetic and label of a plan over `rows` rows to `cost`.
void addSections(Cost& cost, const SectionPlan& plan, int64_t rows);
template <typename... Args>
Cost sectionsCost(const SectionPlan& plan, const TensorDesc& rows, const Args&... args) {
  Cost cost = costOf(rows, args...);
  addSections(cost, plan, rows.shape[0]);
  return cost;
}
/// Number of pairs of a query and a key that it sees, in documents with `count` offsets. window: see AttentionScoring.
double causalPairs(const int32_t* queryOffsets, const int32_t* keyOffsets, int64_t count, int64_t window);
Cost adamwCost(const TensorList& parameters, const TensorList& gradients, const TensorList& firstMoments,
               const TensorList& secondMoments, const AdamWStep& step, const TensorDesc& scale);

}  // namespace mora
