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

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sampling.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

using DoubleTag = hn::ScalableTag<double>;
using DoubleVector = hn::Vec<DoubleTag>;

/// e^x within 2 units in the last place for x <= 0; 0 below -708. As expFloat, with the polynomial of degree 13.
HWY_INLINE DoubleVector expOfNegative(DoubleVector x) {
  const DoubleTag doubles;
  const hn::RebindToUnsigned<DoubleTag> bits;
  // Adding 1.5 * 2^52 rounds to a whole number in the low bits; 1023 more makes them an exponent.
  const DoubleVector magic = hn::Set(doubles, 0x1.8p+52 + 1023.0);
  const DoubleVector shifted = hn::MulAdd(x, hn::Set(doubles, 0x1.71547652b82fep+0), magic);
  const DoubleVector n = hn::Sub(shifted, magic);
  DoubleVector r = hn::NegMulAdd(n, hn::Set(doubles, 0x1.62e42fefa3800p-1), x);
  r = hn::NegMulAdd(n, hn::Set(doubles, 0x1.ef35793c76730p-45), r);
  double factorial = 6227020800;  // 13!
  DoubleVector sum = hn::Set(doubles, 1 / factorial);
#pragma GCC unroll 13
  for (int degree = 13; degree > 0; --degree) {
    factorial /= degree;
    sum = hn::MulAdd(sum, r, hn::Set(doubles, 1 / factorial));
  }
  const DoubleVector power = hn::BitCast(doubles, hn::ShiftLeft<52>(hn::BitCast(bits, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(doubles, -708.0)), hn::Mul(sum, power));
}

/// sums of each `span` weights = e^((logit - largest) / temperature), which are also stored unless `weights` is null.
void SumWeights(const float* HWY_RESTRICT logits, int64_t count, double largest, double temperature, double* weights,
                int64_t span, double* sums) {
  const DoubleTag doubles;
  const hn::Rebind<float, DoubleTag> floats;
  const auto lanes = static_cast<int64_t>(hn::Lanes(doubles));
  const DoubleVector middle = hn::Set(doubles, largest), factor = hn::Set(doubles, 1 / temperature);
  for (int64_t begin = 0; begin < count; begin += span, ++sums) {
    const int64_t end = std::min(count, begin + span);
    DoubleVector sum = hn::Zero(doubles);
    for (int64_t i = begin; i < end; i += lanes) {
      const auto part = static_cast<size_t>(std::min(lanes, end - i));
      const DoubleVector logit = hn::PromoteTo(doubles, hn::LoadN(floats, logits + i, part));
      const DoubleVector all = expOfNegative(hn::Mul(hn::Sub(logit, middle), factor));
      const DoubleVector own = hn::IfThenElseZero(hn::FirstN(doubles, part), all);
      if (weights) hn::StoreN(own, doubles, weights + i, part);
      sum = hn::Add(sum, own);
    }
    *sums = hn::ReduceSum(doubles, sum);
  }
}

/// Writes the columns of [begin, end) whose logit is at least `lowest`, in order; returns their number.
int64_t ColumnsFrom(const float* HWY_RESTRICT logits, int64_t begin, int64_t end, float lowest, int32_t* columns) {
  const FloatTag floats;
  int64_t found = 0;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(floats));
  int64_t i = begin;
  const auto add = [&](int64_t column) {
    if (logits[column] >= lowest) columns[found++] = static_cast<int32_t>(column);
  };
  for (; i + lanes <= end; i += lanes) {
    if (hn::AllFalse(floats, hn::Ge(hn::LoadU(floats, logits + i), broadcast(lowest)))) continue;
    for (int64_t column = i; column < i + lanes; ++column) add(column);
  }
  for (; i < end; ++i) add(i);
  return found;
}

/// The column of the largest logit, or -1 - column of one that makes it undefined.
int32_t Likeliest(const float* HWY_RESTRICT logits, int64_t count) {
  const FloatTag floats;
  const FloatVector infinity = broadcast(std::numeric_limits<float>::infinity());
  FloatVector most = hn::Neg(infinity);
  auto finite = hn::Lt(most, infinity);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector values = load(logits + i, part);
    finite = hn::And(finite, hn::Lt(values, infinity));
    if constexpr (std::is_same_v<decltype(part), PartVector>)
      most = hn::IfThenElse(hn::FirstN(floats, part.count), hn::Max(most, values), most);
    else
      most = hn::Max(most, values);
  });
  const float largest = hn::ReduceMax(floats, most);
  const auto isSought = [&](float logit) {
    return hn::AllTrue(floats, finite) ? logit == largest : !(logit < std::numeric_limits<float>::infinity());
  };
  int64_t column = 0;
  while (column + 1 < count && !isSought(logits[column])) ++column;
  const bool defined = hn::AllTrue(floats, finite) && largest > -std::numeric_limits<float>::infinity();
  return static_cast<int32_t>(defined ? column : -1 - column);
}

/// Sets the logits to -inf whose bits are 0.
void MaskRow(const uint32_t* HWY_RESTRICT words, float* HWY_RESTRICT logits, int64_t count) {
  const FloatTag floats;
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    alignas(8) const uint64_t bits = words[i / 32] >> (i % 32);
    const auto allowed = hn::LoadMaskBits(floats, reinterpret_cast<const uint8_t*>(&bits));
    const FloatVector forbidden = broadcast(-std::numeric_limits<float>::infinity());
    store(hn::IfThenElse(allowed, load(logits + i, part), forbidden), logits + i, part);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SumWeights);
HWY_EXPORT(ColumnsFrom);
HWY_EXPORT(Likeliest);
HWY_EXPORT(MaskRow);

namespace {

constexpr int64_t kDraws = int64_t{1} << 53;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSpan = 1024;  // columns whose weights are summed together

/// A row in f32: the tensor's own memory, or a copy.
const float* valuesOf(Scratch& scratch, const TensorDesc& logits, int64_t row) {
  if (logits.dtype == DType::f32) return rowOf<const float>(logits, row);
  auto* const values = scratch.take<float>(columnsOf(logits));
  convertRow(logits.dtype, rowOf<const uint16_t>(logits, row), DType::f32, values, columnsOf(logits));
  return values;
}

int32_t likeliest(const float* logits, int64_t count) { return HWY_DYNAMIC_DISPATCH(Likeliest)(logits, count); }

/// Tells which of two columns comes first: the one of the larger value, of equal ones the lower.
struct First {
  const float* values;

  bool operator()(int32_t a, int32_t b) const { return values[a] > values[b] || (values[a] == values[b] && a < b); }
};

/// The columns of the largest values of those that are added, up to a number.
class LargestOf {
 public:
  LargestOf(const float* values, size_t most) : first_{values}, most_(most) { heap_.reserve(most); }

  /// Adds those of [0, count) whose values are at least `lowest`.
  void addRow(int64_t count, float lowest) {
    constexpr int64_t kPiece = 1024;
    int32_t columns[kPiece];
    for (int64_t begin = 0; begin < count; begin += kPiece) {
      if (most_ > 0 && heap_.size() == most_) lowest = std::max(lowest, first_.values[heap_.front()]);
      const int64_t found =
          HWY_DYNAMIC_DISPATCH(ColumnsFrom)(first_.values, begin, std::min(count, begin + kPiece), lowest, columns);
      for (int64_t i = 0; i < found; ++i) add(columns[i]);
    }
  }

  /// In no particular order.
  const std::vector<int32_t>& all() const { return heap_; }

  /// The largest first, of equal ones the lowest column; called once.
  const std::vector<int32_t>& sorted() {
    std::sort_heap(heap_.begin(), heap_.end(), first_);
    return heap_;
  }

 private:
  const First first_;
  const size_t most_;
  std::vector<int32_t> heap_;  // the last one is its front

  void add(int32_t column) {
    if (heap_.size() == most_) {
      if (most_ == 0 || !first_(column, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), first_);
      heap_.pop_back();
    }
    heap_.push_back(column);
    std::push_heap(heap_.begin(), heap_.end(), first_);
  }
};

/// Finds where the running sum of amounts passes a target in an order of items, without sorting them: the index of that
/// item, in front of which are all that come before it.
template <typename Item, class Order, class Amount, class Passes>
size_t crossing(std::vector<Item>& items, Order comesFirst, Amount amount, Passes passes) {
  constexpr size_t kFew = 16;
  size_t begin = 0, end = items.size();
  const auto at = [&](size_t i) { return items.begin() + static_cast<std::ptrdiff_t>(i); };
  double before = 0;
  while (end - begin > kFew) {
    const size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end), comesFirst);
    double sum = before;
    for (size_t i = begin; i < middle; ++i) sum += amount(items[i]);
    if (passes(sum))
      end = middle;
    else
      before = sum, begin = middle;
  }
  std::sort(at(begin), at(end), comesFirst);
  while (begin + 1 < end && !passes(before += amount(items[begin]))) ++begin;
  return begin;
}

/// Samples from one row after the other; reuses memory.
class Sampler {
 public:
  Sampler(Scratch& scratch, int64_t count)
      : count_(count), weights_(scratch.take<double>(count)), sums_(spansOf(count)) {}

  static size_t spansOf(int64_t count) { return static_cast<size_t>((count + kSpan - 1) / kSpan); }

  /// @param uniform in [0, 1)
  int32_t draw(const float* logits, const Sampling& sampling, double uniform) {
    const int32_t best = likeliest(logits, count_);
    if (best < 0 || sampling.greedy()) return best;
    logits_ = logits;
    largest_ = logits[best];
    // Finite, so that the distance of -inf stays infinite.
    temperature_ = std::min(sampling.temperature, std::numeric_limits<float>::max());
    const bool isLimited = sampling.limits(count_), hasNucleus = sampling.topP < 1;
    if (sampling.minP > 0 || isLimited) {
      chooseFew(sampling);
    } else {
      HWY_DYNAMIC_DISPATCH(SumWeights)(logits, count_, largest_, temperature_, weights_, kSpan, sums_.data());
      if (!hasNucleus && sampling.typicalP >= 1) return pickAny(uniform);
      // Tokens with probabilities below (1 - share) / V sum to less than 1 - share, so the kept ones are among the
      // others.
      all_ = std::accumulate(sums_.begin(), sums_.end(), 0.0);
      keepFrom(hasNucleus ? (1 - sampling.topP) * all_ / static_cast<double>(count_) : 0);
    }
    if (hasNucleus) keepNucleus(sampling.topP);
    if (sampling.typicalP < 1) keepTypical(sampling.typicalP);
    return isLimited || hasNucleus ? pickByLikelihood(uniform) : pick(uniform);
  }

 private:
  double weight(int32_t id) const { return weights_[id]; }
  double scaled(int32_t id) const { return (static_cast<double>(logits_[id]) - largest_) / temperature_; }
  double sumOfIds() const {
    return std::accumulate(ids_.begin(), ids_.end(), 0.0, [&](double sum, int32_t id) { return sum + weight(id); });
  }

  /// A bound of the logits of weights that are at least `least`.
  float lowest(double least) const {
    if (!(least > 0)) return -kInfinity;
    return std::nextafter(static_cast<float>(largest_ + temperature_ * (std::log(least) - 1e-6)), -kInfinity);
  }

  /// Collects the tokens that minP and topK keep, and computes their weights.
  void chooseFew(const Sampling& sampling) {
    const double least = std::min(1.0f, sampling.minP);
    if (sampling.limits(count_)) {
      LargestOf kept(logits_, static_cast<size_t>(sampling.topK));
      kept.addRow(count_, lowest(least));
      ids_ = kept.all();
    } else {
      collect(lowest(least));
    }
    for (const int32_t id : ids_) weights_[id] = std::exp(scaled(id));
    drop(least);
    all_ = sumOfIds();
  }

  /// Collects the tokens whose weights, which are known, are at least `least`.
  void keepFrom(double least) {
    collect(lowest(least));
    drop(least);
  }

  void collect(float from) {
    ids_.resize(static_cast<size_t>(count_));
    ids_.resize(static_cast<size_t>(HWY_DYNAMIC_DISPATCH(ColumnsFrom)(logits_, 0, count_, from, ids_.data())));
  }

  void drop(double least) {
    std::erase_if(ids_, [&](int32_t id) { return weight(id) < least || weight(id) == 0; });
  }

  size_t crossingOfIds(double target, bool mayEqual) {
    return crossing(
        ids_, First{logits_}, [&](int32_t id) { return weight(id); },
        [&](double sum) { return mayEqual ? sum >= target : sum > target; });
  }

  void keepNucleus(double share) { ids_.resize(crossingOfIds(share * all_, true) + 1); }

  /// Surprises differ from the entropy as scaled logits do from their mean, with the opposite sign.
  void keepTypical(double share) {
    const double all = sumOfIds();
    const double mean = std::accumulate(ids_.begin(), ids_.end(), 0.0,
                                        [&](double sum, int32_t id) { return sum + weight(id) * scaled(id); }) /
                        all;
    const auto distance = [&](int32_t id) { return std::abs(scaled(id) - mean); };
    nearest_.clear();
    for (const int32_t id : ids_) nearest_.emplace_back(distance(id), weight(id));
    const size_t last = crossing(
        nearest_, std::less<>(), [](const auto& one) { return one.second; },
        [&](double sum) { return sum >= share * all; });
    const double farthest = nearest_[last].first;
    std::erase_if(ids_, [&](int32_t id) { return distance(id) > farthest; });
  }

  /// Picks among all tokens, in order of columns.
  int32_t pickAny(double uniform) const {
    double left = uniform * std::accumulate(sums_.begin(), sums_.end(), 0.0);
    size_t span = 0;
    for (; span + 1 < sums_.size() && left >= sums_[span]; ++span) left -= sums_[span];
    const int64_t begin = static_cast<int64_t>(span) * kSpan, end = std::min(count_, begin + kSpan);
    // Rounding may leave a rest after the last token.
    int64_t last = -1;
    for (int64_t id = begin; id < end && (last < 0 || left >= 0); ++id) {
      if (weights_[id] == 0) continue;
      last = id;
      left -= weights_[id];
    }
    return static_cast<int32_t>(last);
  }

  /// Picks among the kept tokens in their order, which is that of columns.
  int32_t pick(double uniform) const {
    double left = uniform * sumOfIds();
    for (const int32_t id : ids_)
      if ((left -= weight(id)) < 0) return id;
    return ids_.back();
  }

  int32_t pickByLikelihood(double uniform) { return ids_[crossingOfIds(uniform * sumOfIds(), false)]; }

  const int64_t count_;
  double* const weights_;     // of all columns, as far as they are known
  std::vector<double> sums_;  // of the weights of every span of columns
  std::vector<int32_t> ids_;  // candidates
  std::vector<std::pair<double, double>> nearest_;
  const float* logits_ = nullptr;
  double largest_ = 0, temperature_ = 1, all_ = 0;  // all_ is the sum of the candidates' weights before topP
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
    static_cast<int32_t*>(ids.data)[row] = likeliest(valuesOf(scratch, logits, row), columnsOf(logits));
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
    Scratch memory;
    Sampler sampler(memory, columnsOf(logits));
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
      HWY_DYNAMIC_DISPATCH(MaskRow)
      (rowOf<const uint32_t>(mask, i), rowOf<float>(logits, static_cast<const int32_t*>(rows.data)[i]), columns);
    }
  });
}

void logProbabilities(TensorDesc logits, TensorDesc ids, TensorDesc ranks, TensorDesc top, TensorDesc logprobs) {
  const auto columns = static_cast<int32_t>(columnsOf(logits));
  requireIndices("logProbabilities", ids, columns);
  forRows(logits, [&](int64_t row) {
    const auto* const values = rowOf<const float>(logits, row);
    const int32_t id = static_cast<const int32_t*>(ids.data)[row];
    const float own = values[id];
    const auto rank =
        static_cast<int32_t>(1 + std::count_if(values, values + columns, [own](float one) { return one > own; }));
    LargestOf largestOnes(values, static_cast<size_t>(columnsOf(top)));
    largestOnes.addRow(columns, -kInfinity);
    const std::vector<int32_t>& best = largestOnes.sorted();
    const double largest = *std::max_element(values, values + columns);
    std::vector<double> sums(Sampler::spansOf(columns));
    HWY_DYNAMIC_DISPATCH(SumWeights)(values, columns, largest, 1, nullptr, kSpan, sums.data());
    const double logSum = largest + std::log(std::accumulate(sums.begin(), sums.end(), 0.0));
    static_cast<int32_t*>(ranks.data)[row] = rank;
    std::copy(best.begin(), best.end(), rowOf<int32_t>(top, row));
    auto* const results = rowOf<float>(logprobs, row);
    results[0] = static_cast<float>(own - logSum);
    for (size_t i = 0; i < best.size(); ++i) results[1 + i] = static_cast<float>(values[best[i]] - logSum);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
