// Chooses the next token from rows of logits: the likeliest, or a sampled one. Probabilities are f64.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {
namespace {

constexpr int64_t kDraws = int64_t{1} << 53;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A row in f32: the tensor's own memory, or a copy.
const float* valuesOf(Scratch& scratch, const TensorDesc& logits, int64_t row) {
  if (logits.dtype == DType::f32) return rowOf<const float>(logits, row);
  auto* const values = scratch.take<float>(columnsOf(logits));
  convertRow(logits.dtype, rowOf<const uint16_t>(logits, row), DType::f32, values, columnsOf(logits));
  return values;
}

/// The column of the largest logit, or -1 - column of one that makes it undefined.
int32_t likeliest(const float* logits, int32_t count) {
  int32_t best = 0;
  for (int32_t id = 0; id < count; ++id) {
    if (!(logits[id] < kInfinity)) return -1 - id;
    if (logits[id] > logits[best]) best = id;
  }
  return logits[best] == -kInfinity ? -1 - best : best;
}

/// Samples from one row after the other; reuses memory.
class Sampler {
 public:
  Sampler(const Sampling& sampling, int32_t count)
      : sampling_(sampling),
        limited_(sampling.topK > 0 && sampling.topK < count),
        all_(!limited_ && sampling.topP >= 1),
        weights_(static_cast<size_t>(count)) {}

  /// @param uniform in [0, 1)
  int32_t draw(const float* logits, double uniform) {
    const auto count = static_cast<int32_t>(weights_.size());
    const int32_t best = likeliest(logits, count);
    if (best < 0) return best;
    for (int32_t id = 0; id < count; ++id)
      weights_[static_cast<size_t>(id)] =
          std::exp((static_cast<double>(logits[id]) - logits[best]) / sampling_.temperature);
    ids_.clear();
    if (all_) {
      ids_.resize(weights_.size());
      std::iota(ids_.begin(), ids_.end(), 0);
    } else {
      chooseCandidates(logits);
    }
    return pick(uniform);
  }

 private:
  double weight(int32_t id) const { return weights_[static_cast<size_t>(id)]; }
  double sumOfIds() const {
    return std::accumulate(ids_.begin(), ids_.end(), 0.0, [&](double sum, int32_t id) { return sum + weight(id); });
  }

  /// Collects the tokens that topK and topP keep, likeliest first.
  void chooseCandidates(const float* logits) {
    const double all = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    const auto count = static_cast<int32_t>(weights_.size());
    if (limited_) {
      const float least = kthLargest(logits);
      for (int32_t id = 0; id < count; ++id)
        if (logits[id] >= least) ids_.push_back(id);
    } else {
      // Tokens with probabilities below (1 - topP) / V sum to less than 1 - topP, so the kept ones are among the
      // others: few enough to sort.
      const double least = std::min(1.0, (1 - sampling_.topP) * all / count);
      for (int32_t id = 0; id < count; ++id)
        if (weight(id) >= least) ids_.push_back(id);
    }
    std::sort(ids_.begin(), ids_.end(),
              [&](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
    if (limited_) ids_.resize(static_cast<size_t>(sampling_.topK));
    if (sampling_.topP >= 1) return;
    const double wanted = sampling_.topP * (limited_ ? sumOfIds() : all);
    size_t kept = 0;
    for (double sum = 0; kept < ids_.size() && sum < wanted; ++kept) sum += weight(ids_[kept]);
    ids_.resize(std::max<size_t>(kept, 1));
  }

  float kthLargest(const float* logits) {
    sorted_.assign(logits, logits + weights_.size());
    const auto kth = sorted_.begin() + (sampling_.topK - 1);
    std::nth_element(sorted_.begin(), kth, sorted_.end(), std::greater<>());
    return *kth;
  }

  int32_t pick(double uniform) const {
    double left = uniform * sumOfIds();
    int32_t last = 0;
    for (const int32_t id : ids_) {
      if (weight(id) == 0) continue;
      last = id;
      left -= weight(id);
      if (left < 0) return id;
    }
    return last;
  }

  const Sampling sampling_;
  const bool limited_, all_;
  std::vector<double> weights_;
  std::vector<int32_t> ids_;
  std::vector<float> sorted_;
};

}  // namespace

void argmax(TensorDesc logits, TensorDesc ids) {
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      Scratch scratch;
      static_cast<int32_t*>(ids.data)[row] =
          likeliest(valuesOf(scratch, logits, row), static_cast<int32_t>(columnsOf(logits)));
    }
  });
}

void sample(TensorDesc logits, TensorDesc draws, Sampling sampling, TensorDesc ids) {
  const auto* const numbers = static_cast<const int64_t*>(draws.data);
  for (int64_t row = 0; row < logits.shape[0]; ++row)
    if (numbers[row] < 0 || numbers[row] >= kDraws)
      throw std::out_of_range("sample expected draws in [0, 2^53) but draw " + std::to_string(row) + " is " +
                              std::to_string(numbers[row]));
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    Sampler sampler(sampling, static_cast<int32_t>(columnsOf(logits)));
    for (int64_t row = begin; row < end; ++row) {
      Scratch scratch;
      static_cast<int32_t*>(ids.data)[row] =
          sampler.draw(valuesOf(scratch, logits, row), static_cast<double>(numbers[row]) / static_cast<double>(kDraws));
    }
  });
}

}  // namespace mora::cpu
