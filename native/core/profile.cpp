#include "core/profile.h"

#include <cstdio>
#include <cstring>

namespace mora {

void Profile::turn(bool on) {
  const std::lock_guard lock(mutex_);
  on_ = on;
  if (on) measured_.clear();
}

void Profile::add(const char* operation, const Cost& cost, double seconds) {
  const std::lock_guard lock(mutex_);
  Measured& entry = measured_[{operation, cost.label}];
  entry.calls += 1;
  entry.seconds += seconds;
  entry.flops += cost.flops;
  entry.bytes += cost.bytes;
}

std::string Profile::report() {
  const std::lock_guard lock(mutex_);
  std::string json = "[";
  for (const auto& [key, entry] : measured_) {
    char line[512];
    std::snprintf(
        line, sizeof line,
        "%s{\"operation\":\"%s\",\"label\":\"%s\",\"calls\":%llu,\"seconds\":%.9g,\"flops\":%.9g,\"bytes\":%.9g}",
        json.size() > 1 ? "," : "", key.first.c_str(), key.second.c_str(), static_cast<unsigned long long>(entry.calls),
        entry.seconds, entry.flops, entry.bytes);
    json += line;
  }
  return json + "]";
}

Status Profile::copyReport(char* json, size_t capacity, size_t* needed) {
  const std::string text = report();
  *needed = text.size() + 1;
  if (capacity < *needed) return Status::invalidArgument;
  std::memcpy(json, text.c_str(), *needed);
  return Status::ok;
}

Cost matmulCost(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool, const TensorDesc& c, float, bool) {
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const int64_t batch = c.rank == 3 ? c.shape[0] : 1;
  Cost cost = costOf(a, b, c);
  cost.flops = 2.0 * static_cast<double>(m * n) * static_cast<double>(k * batch);
  cost.label = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  return cost;
}

Cost matmulInt8Cost(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, bool accumulate) {
  return matmulCost(a, false, b, transposeB, c, 1, accumulate);
}

Cost matmulCodesCost(const TensorDesc& a, const CodedMatrix& b, bool, const TensorDesc& c, float alpha,
                     bool accumulate) {
  Cost cost = matmulCost(a, false, b.codes, false, c, alpha, accumulate);
  cost.bytes = costOf(a, b, c).bytes;
  return cost;
}

void addSections(Cost& cost, const SectionPlan& plan, int64_t rows) {
  visitSectionProducts(plan, [&](const SectionProduct& product) {
    cost.flops += 2.0 * static_cast<double>(product.rows * product.depth) * static_cast<double>(product.count * rows);
  });
  cost.label =
      std::to_string(plan.inFeatures) + "->" + std::to_string(plan.outFeatures) + " R=" + std::to_string(plan.side);
}

namespace {

// Attention computes `products` products of 2 E operations for every pair and head.
void addAttention(Cost& cost, const TensorDesc& q, const TensorDesc& k, const TensorDesc& queryOffsets,
                  const TensorDesc& keyOffsets, int64_t window, int products) {
  cost.pairs = {queryOffsets, keyOffsets, window, static_cast<double>(2 * products * q.shape[1] * q.shape[2])};
  cost.label =
      "H=" + std::to_string(q.shape[1]) + " K=" + std::to_string(k.shape[1]) + " E=" + std::to_string(q.shape[2]);
}

}  // namespace

Cost attentionCost(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v, const TensorDesc& queryOffsets,
                   const TensorDesc& keyOffsets, const AttentionScoring& scoring, const TensorDesc& out,
                   const TensorDesc& lse, const TensorDesc& keyRows) {
  Cost cost = costOf(q, k, v, out, lse, keyRows);
  addAttention(cost, q, k, queryOffsets, keyOffsets, scoring.window, 2);  // scores, output
  return cost;
}

Cost attentionBackwardCost(const TensorDesc& dOut, const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                           const TensorDesc& out, const TensorDesc& lse, const TensorDesc& queryOffsets,
                           const TensorDesc& keyOffsets, const AttentionScoring& scoring, const TensorDesc& dQ,
                           const TensorDesc& dK, const TensorDesc& dV) {
  Cost cost = costOf(dOut, q, k, v, out, lse, dQ, dK, dV);
  addAttention(cost, q, k, queryOffsets, keyOffsets, scoring.window, 5);  // scores again, dV, d(scores), dQ, dK
  return cost;
}

double causalPairs(const int32_t* queryOffsets, const int32_t* keyOffsets, int64_t count, int64_t window) {
  // 1 + 2 + .. + n.
  const auto sumTo = [](double n) { return n > 0 ? n * (n + 1) / 2 : 0; };
  double pairs = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    const double queries = queryOffsets[i + 1] - queryOffsets[i], keys = keyOffsets[i + 1] - keyOffsets[i];
    pairs += sumTo(keys) - sumTo(keys - queries);
    // Keys beyond the window: 1 for the first query past it, one more for each query that follows.
    const double seen = static_cast<double>(window);
    if (window > 0) pairs -= sumTo(keys - seen) - sumTo(keys - queries - seen);
  }
  return pairs;
}

Cost adamwCost(const TensorList& parameters, const TensorList& gradients, const TensorList& firstMoments,
               const TensorList& secondMoments, const AdamWStep&, const TensorDesc& scale) {
  Cost cost = costOf(parameters, gradients, firstMoments, secondMoments, scale);
  cost.bytes += costOf(parameters, firstMoments, secondMoments).bytes;  // written back
  return cost;
}

}  // namespace mora
