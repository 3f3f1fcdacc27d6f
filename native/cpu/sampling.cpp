// Chooses the next token from rows of logits: the likeliest, or a sampled one; and what surrounds the choice, changes
// of logits before it and log-probabilities after it. Probabilities are f64.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/document_rows.h"
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

/// Tells which of two columns comes first: the one of the larger value, of equal ones the lower.
struct First {
  const float* values;

  bool operator()(int32_t a, int32_t b) const { return values[a] > values[b] || (values[a] == values[b] && a < b); }
};

/// The columns of the largest values of those that are added, up to a number.
class LargestOf {
 public:
  LargestOf(const float* values, size_t most) : first_{values}, most_(most) { heap_.reserve(most); }

  void add(int32_t column) {
    if (heap_.size() == most_) {
      if (most_ == 0 || !first_(column, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), first_);
      heap_.pop_back();
    }
    heap_.push_back(column);
    std::push_heap(heap_.begin(), heap_.end(), first_);
  }

  /// The largest first, of equal ones the lowest column; called once.
  const std::vector<int32_t>& sorted() {
    std::sort_heap(heap_.begin(), heap_.end(), first_);
    return heap_;
  }

 private:
  const First first_;
  const size_t most_;
  std::vector<int32_t> heap_;  // the last one is its front
};

/// Samples from one row after the other; reuses memory.
class Sampler {
 public:
  explicit Sampler(int64_t count) : weights_(static_cast<size_t>(count)) {}

  /// @param uniform in [0, 1)
  int32_t draw(const float* logits, const Sampling& sampling, double uniform) {
    const auto count = static_cast<int32_t>(weights_.size());
    const int32_t best = likeliest(logits, count);
    if (best < 0 || sampling.greedy()) return best;
    logits_ = logits;
    largest_ = logits[best];
    // Finite, so that the distance of -inf stays infinite.
    temperature_ = std::min(sampling.temperature, std::numeric_limits<float>::max());
    chooseCandidates(sampling);
    if (sampling.topP < 1) keepNucleus(sampling.topP, sampling.limits(count));
    if (sampling.typicalP < 1) keepTypical(sampling.typicalP);
    return pick(uniform);
  }

 private:
  double weight(int32_t id) const { return weights_[static_cast<size_t>(id)]; }
  double scaled(int32_t id) const { return (static_cast<double>(logits_[id]) - largest_) / temperature_; }
  double sumOfIds() const {
    return std::accumulate(ids_.begin(), ids_.end(), 0.0, [&](double sum, int32_t id) { return sum + weight(id); });
  }

  /// Collects the tokens that minP and topK keep, and their weights: in order of columns, or likeliest first if topK
  /// excludes any.
  void chooseCandidates(const Sampling& sampling) {
    const auto count = static_cast<int32_t>(weights_.size());
    const double least = std::min(1.0f, sampling.minP);
    // Most tokens are so far below that they need no exponential.
    const double lowest = least > 0 ? largest_ + temperature_ * (std::log(least) - 1e-6) : -kInfinity;
    ids_.clear();
    if (sampling.limits(count)) {
      LargestOf kept(logits_, static_cast<size_t>(sampling.topK));
      for (int32_t id = 0; id < count; ++id)
        if (logits_[id] >= lowest) kept.add(id);
      ids_ = kept.sorted();
    } else {
      for (int32_t id = 0; id < count; ++id)
        if (logits_[id] >= lowest) ids_.push_back(id);
    }
    // Where no sum of weights is compared with a share, f32 is exact enough; its exponential takes a quarter of the
    // time.
    const bool compares = least > 0 || sampling.topP < 1 || sampling.typicalP < 1;
    for (const int32_t id : ids_) {
      const double power = scaled(id);
      weights_[static_cast<size_t>(id)] = compares ? std::exp(power) : std::exp(static_cast<float>(power));
    }
    if (least > 0) std::erase_if(ids_, [&](int32_t id) { return weight(id) < least; });
  }

  void keepNucleus(double share, bool sorted) {
    const double all = sumOfIds();
    if (!sorted) {
      // Tokens with probabilities below (1 - share) / V sum to less than 1 - share, so the kept ones are among the
      // others: few enough to sort.
      const double least = std::min(1.0, (1 - share) * all / static_cast<double>(weights_.size()));
      std::erase_if(ids_, [&](int32_t id) { return weight(id) < least; });
      std::sort(ids_.begin(), ids_.end(), First{logits_});
    }
    size_t kept = 0;
    for (double sum = 0; kept < ids_.size() && sum < share * all; ++kept) sum += weight(ids_[kept]);
    ids_.resize(std::max<size_t>(kept, 1));
  }

  /// Surprises differ from the entropy as scaled logits do from their mean, with the opposite sign.
  void keepTypical(double share) {
    std::erase_if(ids_, [&](int32_t id) { return weight(id) == 0; });
    const double all = sumOfIds();
    const double mean = std::accumulate(ids_.begin(), ids_.end(), 0.0,
                                        [&](double sum, int32_t id) { return sum + weight(id) * scaled(id); }) /
                        all;
    const auto distance = [&](int32_t id) { return std::abs(scaled(id) - mean); };
    nearest_.clear();
    for (const int32_t id : ids_) nearest_.emplace_back(distance(id), weight(id));
    std::sort(nearest_.begin(), nearest_.end());
    double farthest = 0, sum = 0;
    for (const auto& [away, part] : nearest_) {
      farthest = away;
      sum += part;
      if (sum >= share * all) break;
    }
    std::erase_if(ids_, [&](int32_t id) { return distance(id) > farthest; });
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

  const float* logits_ = nullptr;
  double largest_ = 0, temperature_ = 1;
  std::vector<double> weights_;
  std::vector<int32_t> ids_;
  std::vector<std::pair<double, double>> nearest_;
};

/// Calls body(n) for every row of logits.
template <typename Body>
void forRows(const TensorDesc& logits, Body&& body) {
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace

void argmax(TensorDesc logits, TensorDesc ids) {
  forRows(logits, [&](int64_t row) {
    Scratch scratch;
    static_cast<int32_t*>(ids.data)[row] =
        likeliest(valuesOf(scratch, logits, row), static_cast<int32_t>(columnsOf(logits)));
  });
}

void sample(TensorDesc logits, TensorDesc draws, TensorDesc settings, TensorDesc ids) {
  static_assert(sizeof(Sampling) == Sampling::kFields * sizeof(float));
  const auto* const numbers = static_cast<const int64_t*>(draws.data);
  for (int64_t row = 0; row < logits.shape[0]; ++row)
    if (numbers[row] < 0 || numbers[row] >= kDraws)
      throw std::out_of_range("sample expected draws in [0, 2^53) but draw " + std::to_string(row) + " is " +
                              std::to_string(numbers[row]));
  parallelRanges(logits.shape[0], columnsOf(logits), [&](int64_t begin, int64_t end) {
    Sampler sampler(columnsOf(logits));
    for (int64_t row = begin; row < end; ++row) {
      Scratch scratch;
      static_cast<int32_t*>(ids.data)[row] =
          sampler.draw(valuesOf(scratch, logits, row), static_cast<const Sampling*>(settings.data)[row],
                       static_cast<double>(numbers[row]) / static_cast<double>(kDraws));
    }
  });
}

void editLogits(TensorDesc offsets, TensorDesc ids, TensorDesc changes, TensorDesc logits) {
  requireIndices("editLogits", ids, columnsOf(logits));
  const int32_t* const starts = risingOffsets("editLogits", offsets, ids.shape[0]);
  for (int64_t row = 0; row < logits.shape[0]; ++row) {
    auto* const values = rowOf<float>(logits, row);
    for (int64_t i = starts[row]; i < starts[row + 1]; ++i) {
      const float* const change = static_cast<const float*>(changes.data) + 3 * i;
      float& logit = values[static_cast<const int32_t*>(ids.data)[i]];
      logit += change[0];
      logit = (logit > 0 ? logit / change[1] : logit * change[1]) + change[2];
    }
  }
}

void maskLogits(TensorDesc mask, TensorDesc rows, TensorDesc logits) {
  requireIndices("maskLogits", rows, logits.shape[0]);
  const int64_t columns = columnsOf(logits);
  parallelRanges(rows.shape[0], columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto* const words = rowOf<const uint32_t>(mask, i);
      auto* const values = rowOf<float>(logits, static_cast<const int32_t*>(rows.data)[i]);
      for (int64_t column = 0; column < columns; ++column)
        if ((words[column / 32] >> (column % 32) & 1) == 0) values[column] = -kInfinity;
    }
  });
}

void logProbabilities(TensorDesc logits, TensorDesc ids, TensorDesc ranks, TensorDesc top, TensorDesc logprobs) {
  const auto columns = static_cast<int32_t>(columnsOf(logits));
  requireIndices("logProbabilities", ids, columns);
  forRows(logits, [&](int64_t row) {
    const auto* const values = rowOf<const float>(logits, row);
    const int32_t id = static_cast<const int32_t*>(ids.data)[row];
    int32_t rank = 1;
    LargestOf largestOnes(values, static_cast<size_t>(columnsOf(top)));
    for (int32_t column = 0; column < columns; ++column) {
      if (values[column] > values[id]) ++rank;
      largestOnes.add(column);
    }
    const std::vector<int32_t>& best = largestOnes.sorted();
    const double largest = *std::max_element(values, values + columns);
    double sum = 0;
    for (int32_t column = 0; column < columns; ++column) sum += std::exp(values[column] - largest);
    const double logSum = largest + std::log(sum);
    static_cast<int32_t*>(ranks.data)[row] = rank;
    std::copy(best.begin(), best.end(), rowOf<int32_t>(top, row));
    auto* const results = rowOf<float>(logprobs, row);
    results[0] = static_cast<float>(values[id] - logSum);
    for (size_t i = 0; i < best.size(); ++i) results[1 + i] = static_cast<float>(values[best[i]] - logSum);
  });
}

}  // namespace mora::cpu
