// The gated delta rule over packed documents (arXiv 2412.06464), and its gradient, in chunks of tokens.
//
// With G_t = the sum of g up to token t of a chunk, S the state [Dk, Dv] before it, D_ts = e^(G_t - G_s) for s <= t and
// matrices of the chunk's rows, those of Q divided by sqrt(Dk),
//
//   A = K K^T D below the diagonal     R = V - e^G (K S) - A U     U = beta R, solved row by row
//   P = Q K^T D with the diagonal      Y = e^G (Q S) + P U         S' = e^G_last S + K^T (e^(G_last - G) U)
//
// Only differences of G are raised, so that strong decay becomes 0. They are taken in f64, since G may be large beside
// them. From the gradients dY and dS' follow, with W solved row by row from the last,
//
//   dU = P^T dY + e^(G_last - G) (K dS')     W = dU - A^T Z     Z = beta W = dV     dbeta = W . R by rows
//   M = (dY U^T) D with, N = -(Z U^T) D without the diagonal    dS = e^G_last dS' + Q^T (e^G dY) - K^T (e^G Z)
//   dQ = M K + e^G dY S^T     dK = M^T Q + N K + N^T K + e^(G_last - G) U dS'^T - e^G Z S^T
//
// and dG from every factor: M Q K^T + N K K^T raises G of its row and lowers G of its column. A document of one token
// is a chunk of one row, which is the recurrent form.
#include "cpu/layers/delta_rule.h"

#include <algorithm>
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/document_rows.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/delta_rule.cpp"
#include <hwy/foreach_target.h>

#include "cpu/layers/chunk_products-inl.h"
#include "cpu/simd_float-inl.h"
#include "cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kChunkRows = 64;

/// to [count] = factor * from
HWY_INLINE void scale(float factor, const float* from, float* to, int64_t count) {
  forVectors(count, [&](int64_t i, auto part)
                        HWY_ATTR { store(hn::Mul(broadcast(factor), load(from + i, part)), to + i, part); });
}

HWY_INLINE float dot(const float* a, const float* b, int64_t count) {
  FloatVector sum = broadcast(0.0f);
  forVectors(count,
             [&](int64_t i, auto part) HWY_ATTR { sum = hn::MulAdd(load(a + i, part), load(b + i, part), sum); });
  return hn::ReduceSum(FloatTag(), sum);
}

/// Q K^T and K K^T of a chunk, whatever the value head, up to their diagonals.
struct ChunkScores {
  static constexpr int64_t kElements = 2 * kChunkRows * kChunkRows;
  float *queryKeys, *keyKeys;

  explicit ChunkScores(float* data) : queryKeys(data), keyKeys(data + kChunkRows * kChunkRows) {}
};

/// A chunk of one value head, in f32, and what follows from its keys, queries and decays alone.
template <typename T>
class DeltaChunk {
 public:
  DeltaChunk(const DeltaRule& rule, Scratch& scratch)
      : rule_(rule),
        q(scratch.take<float>(kChunkRows * rule.keySize())),
        k(scratch.take<float>(kChunkRows * rule.keySize())),
        keysByColumns_(scratch.take<float>(kChunkRows * rule.keySize())),
        decays(scratch.take<float>(kChunkRows * kChunkRows)),
        responses_(scratch.take<float>(kChunkRows * kChunkRows)),
        couplings_(scratch.take<float>(kChunkRows * kChunkRows)) {}

  /// Loads the rows of a key head.
  void load(int64_t firstRow, int64_t count, int64_t keyHead) {
    first = firstRow, rows = count;
    const int64_t keySize = rule_.keySize();
    for (int64_t t = 0; t < rows; ++t) {
      convert(rowAt<const T>(rule_.q, first + t, keyHead), q + t * keySize, keySize);
      scale(rule_.queryScale(), q + t * keySize, q + t * keySize, keySize);
      convert(rowAt<const T>(rule_.k, first + t, keyHead), k + t * keySize, keySize);
    }
  }

  void score(ChunkScores scores) {
    const int64_t keySize = rule_.keySize();
    const RightMatrix keysByColumns{keysByColumns_, kChunkRows};
    transpose(k, rows, keySize, keysByColumns_, kChunkRows);
    multiplyToLower(queries(), keysByColumns, {scores.queryKeys, kChunkRows}, rows, keySize);
    multiplyToLower(keys(), keysByColumns, {scores.keyKeys, kChunkRows}, rows, keySize);
  }

  /// Sets the decays and learning rates of a value head.
  void decay(ChunkScores scores, int64_t head) {
    double sums[kChunkRows], total = 0;
    for (int64_t t = 0; t < rows; ++t) {
      sums[t] = total += rowOf<const float>(rule_.g, first + t)[head];
      beta[t] = rowOf<const float>(rule_.beta, first + t)[head];
    }
    for (int64_t t = 0; t < rows; ++t) {
      fromStart[t] = static_cast<float>(std::exp(sums[t]));
      toEnd[t] = static_cast<float>(std::exp(total - sums[t]));
      const int64_t row = t * kChunkRows;
      for (int64_t s = 0; s <= t; ++s) decays[row + s] = static_cast<float>(sums[t] - sums[s]);
      forVectors(t + 1, [&](int64_t s, auto part) HWY_ATTR {
        const FloatVector decayed = expFloat(HWY_NAMESPACE::load(decays + row + s, part));
        store(decayed, decays + row + s, part);
        store(hn::Mul(HWY_NAMESPACE::load(scores.queryKeys + row + s, part), decayed), responses_ + row + s, part);
        const FloatVector coupling = hn::Mul(HWY_NAMESPACE::load(scores.keyKeys + row + s, part), decayed);
        store(hn::Neg(coupling), couplings_ + row + s, part);
      });
      std::fill(responses_ + row + t + 1, responses_ + row + kChunkRows, 0.0f);
      std::fill(couplings_ + row + t, couplings_ + row + kChunkRows, 0.0f);
    }
  }

  float lastDecay() const { return fromStart[rows - 1]; }

  LeftMatrix queries() const { return byRows(q, rule_.keySize()); }
  LeftMatrix keys() const { return byRows(k, rule_.keySize()); }
  LeftMatrix keysByColumns() const { return transposed(k, rule_.keySize()); }
  LeftMatrix responses() const { return byRows(responses_, kChunkRows); }
  LeftMatrix responsesByColumns() const { return transposed(responses_, kChunkRows); }
  LeftMatrix couplings() const { return byRows(couplings_, kChunkRows); }
  LeftMatrix couplingsByColumns() const { return transposed(couplings_, kChunkRows); }

  /// The row of a head in a tensor [T, heads, .].
  template <typename U>
  static U* rowAt(const TensorDesc& tensor, int64_t row, int64_t head) {
    return rowOf<U>(tensor, row) + head * tensor.strides[1];
  }

 private:
  const DeltaRule& rule_;

 public:
  int64_t first = 0, rows = 0;
  float *q, *k;  // [rows, keySize]

 private:
  float* keysByColumns_;

 public:
  float* decays;  // D, up to its diagonal
  float fromStart[kChunkRows], toEnd[kChunkRows], beta[kChunkRows];

 private:
  float *responses_, *couplings_;  // P and -A
};

/// residuals, updates [rows, valueSize] = R and U of a chunk that starts at `state`.
template <typename T>
void solveChunk(const DeltaRule& rule, const DeltaChunk<T>& chunk, int64_t head, const float* state, float* residuals,
                float* updates) {
  const int64_t width = rule.valueSize();
  multiply(chunk.keys(), {state, width}, {residuals, width}, chunk.rows, rule.keySize(), width, false);
  for (int64_t t = 0; t < chunk.rows; ++t) {
    const T* const value = chunk.template rowAt<const T>(rule.v, chunk.first + t, head);
    float* const residual = residuals + t * width;
    forVectors(width, [&](int64_t j, auto part) HWY_ATTR {
      store(hn::NegMulAdd(broadcast(chunk.fromStart[t]), load(residual + j, part), load(value + j, part)), residual + j,
            part);
    });
  }
  solveRows<Order::firstToLast>(chunk.couplings(), chunk.beta, {residuals, width}, {updates, width}, chunk.rows, width);
}

/// Moves the state past a chunk; `scaled` [rows, valueSize] is overwritten.
template <typename T>
void advanceState(const DeltaRule& rule, const DeltaChunk<T>& chunk, const float* updates, float* scaled,
                  float* state) {
  const int64_t keySize = rule.keySize(), width = rule.valueSize();
  for (int64_t t = 0; t < chunk.rows; ++t) scale(chunk.toEnd[t], updates + t * width, scaled + t * width, width);
  scale(chunk.lastDecay(), state, state, keySize * width);
  multiply(chunk.keysByColumns(), {scaled, width}, {state, width}, keySize, chunk.rows, width, true);
}

/// target = the state, or 0 if it is absent; they may be the same.
inline void startState(const float* state, float* target, int64_t count) {
  if (!state)
    std::fill_n(target, count, 0.0f);
  else if (state != target)
    std::copy_n(state, count, target);
}

/// y and the final state of one document's value head.
void DeltaRuleHead(const DeltaRule& rule, int64_t document, int64_t head) {
  withFloatType(rule.q.dtype, "gatedDeltaRule", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t keySize = rule.keySize(), width = rule.valueSize(), size = keySize * width;
    Scratch scratch;
    float* state = rule.stateOf(rule.finalState, document, head);
    if (!state) state = scratch.take<float>(size);
    startState(rule.stateOf(rule.state, document, head), state, size);
    DeltaChunk<T> chunk(rule, scratch);
    const ChunkScores scores(scratch.take<float>(ChunkScores::kElements));
    auto* const residuals = scratch.take<float>(kChunkRows * width);
    auto* const updates = scratch.take<float>(kChunkRows * width);
    auto* const results = scratch.take<float>(kChunkRows * width);
    const int64_t end = rule.offsets[document + 1];
    for (int64_t row = rule.offsets[document]; row < end; row += kChunkRows) {
      chunk.load(row, std::min(kChunkRows, end - row), head / rule.group());
      chunk.score(scores);
      chunk.decay(scores, head);
      solveChunk(rule, chunk, head, state, residuals, updates);
      multiply(chunk.queries(), {state, width}, {results, width}, chunk.rows, keySize, width, false);
      for (int64_t t = 0; t < chunk.rows; ++t)
        scale(chunk.fromStart[t], results + t * width, results + t * width, width);
      multiplyLower(chunk.responses(), {updates, width}, {results, width}, chunk.rows, width, true);
      for (int64_t t = 0; t < chunk.rows; ++t)
        convert(results + t * width, chunk.template rowAt<T>(rule.y, row + t, head), width);
      advanceState(rule, chunk, updates, residuals, state);
    }
  });
}

/// The gradient through the chunks of a document for the value heads of one key head, from the last chunk to the first.
template <typename T>
class DeltaRuleGradient {
 public:
  DeltaRuleGradient(const DeltaRule& rule, int64_t document)
      : rule_(rule),
        document_(document),
        keySize_(rule.keySize()),
        width_(rule.valueSize()),
        begin_(rule.offsets[document]),
        rows_(rule.offsets[document + 1] - begin_),
        chunks_((rows_ + kChunkRows - 1) / kChunkRows),
        chunk_(rule, scratch_),
        scores_(scratch_.take<float>(chunks_ * ChunkScores::kElements)),
        states_(scratch_.take<float>(std::max<int64_t>(1, chunks_) * keySize_ * width_)),
        residuals_(scratch_.take<float>(rows_ * width_)),
        updates_(scratch_.take<float>(rows_ * width_)),
        dState_(scratch_.take<float>(keySize_ * width_)),
        byColumns_(scratch_.take<float>(std::max(keySize_, kChunkRows) * width_)),
        dY_(scratch_.take<float>(kChunkRows * width_)),
        adjoints_(scratch_.take<float>(kChunkRows * width_)),
        dValues_(scratch_.take<float>(kChunkRows * width_)),
        scaled_(scratch_.take<float>(kChunkRows * width_)),
        part_(scratch_.take<float>(kChunkRows * keySize_)),
        dResponses_(scratch_.take<float>(kChunkRows * kChunkRows)),
        dCouplings_(scratch_.take<float>(kChunkRows * kChunkRows)),
        dQ_(scratch_.take<float>(rows_ * keySize_)),
        dK_(scratch_.take<float>(rows_ * keySize_)) {}

  void differentiate(int64_t keyHead) {
    std::fill_n(dQ_, rows_ * keySize_, 0.0f);
    std::fill_n(dK_, rows_ * keySize_, 0.0f);
    for (int64_t i = 0; i < chunks_; ++i) {
      loadRows(i, keyHead);
      chunk_.score(scoresOf(i));
    }
    for (int64_t head = keyHead * rule_.group(); head < (keyHead + 1) * rule_.group(); ++head) {
      recompute(head);
      startState(rule_.stateOf(rule_.dFinal, document_, head), dState_, keySize_ * width_);
      for (int64_t i = chunks_ - 1; i >= 0; --i) {
        loadChunk(i, head);
        solveAdjoint(head);
        differentiateChunk(head, states_ + i * keySize_ * width_, scoresOf(i));
      }
      if (float* const dState = rule_.stateOf(rule_.dState, document_, head))
        std::copy_n(dState_, keySize_ * width_, dState);
    }
    scale(rule_.queryScale(), dQ_, dQ_, rows_ * keySize_);
    for (int64_t t = 0; t < rows_; ++t) {
      convert(dQ_ + t * keySize_, chunk_.template rowAt<T>(rule_.dQ, begin_ + t, keyHead), keySize_);
      convert(dK_ + t * keySize_, chunk_.template rowAt<T>(rule_.dK, begin_ + t, keyHead), keySize_);
    }
  }

 private:
  void loadRows(int64_t index, int64_t keyHead) {
    chunk_.load(begin_ + index * kChunkRows, std::min(kChunkRows, rows_ - index * kChunkRows), keyHead);
  }
  void loadChunk(int64_t index, int64_t head) {
    loadRows(index, head / rule_.group());
    chunk_.decay(scoresOf(index), head);
  }
  ChunkScores scoresOf(int64_t index) const { return ChunkScores(scores_ + index * ChunkScores::kElements); }
  int64_t offset() const { return chunk_.first - begin_; }  // of the chunk in the document

  /// The state before every chunk, and R and U of every row.
  void recompute(int64_t head) {
    const int64_t size = keySize_ * width_;
    startState(rule_.stateOf(rule_.state, document_, head), states_, size);
    for (int64_t i = 0; i < chunks_; ++i) {
      loadChunk(i, head);
      float *const state = states_ + i * size, *const updates = updates_ + offset() * width_;
      solveChunk(rule_, chunk_, head, state, residuals_ + offset() * width_, updates);
      if (i + 1 == chunks_) break;
      std::copy_n(state, size, state + size);
      advanceState(rule_, chunk_, updates, scaled_, state + size);
    }
  }

  /// W and Z from dY and the gradient of the state after the chunk, and with them dV and dbeta.
  void solveAdjoint(int64_t head) {
    const int64_t rows = chunk_.rows;
    for (int64_t t = 0; t < rows; ++t)
      convert(chunk_.template rowAt<const T>(rule_.dY, chunk_.first + t, head), dY_ + t * width_, width_);
    multiply(chunk_.keys(), {dState_, width_}, {adjoints_, width_}, rows, keySize_, width_, false);
    for (int64_t t = 0; t < rows; ++t) scale(chunk_.toEnd[t], adjoints_ + t * width_, adjoints_ + t * width_, width_);
    multiplyUpper(chunk_.responsesByColumns(), {dY_, width_}, {adjoints_, width_}, rows, width_, true);
    solveRows<Order::lastToFirst>(chunk_.couplingsByColumns(), chunk_.beta, {adjoints_, width_}, {dValues_, width_},
                                  rows, width_);
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t row = chunk_.first + t;
      convert(dValues_ + t * width_, chunk_.template rowAt<T>(rule_.dV, row, head), width_);
      rowOf<float>(rule_.dBeta, row)[head] = dot(adjoints_ + t * width_, residuals_ + (offset() + t) * width_, width_);
    }
  }

  /// Adds to dQ and dK, writes dg, and moves the gradient of the state to before the chunk.
  void differentiateChunk(int64_t head, const float* state, ChunkScores scores) {
    const int64_t rows = chunk_.rows;
    const float* const updates = updates_ + offset() * width_;
    const ResultMatrix dQ{dQ_ + offset() * keySize_, keySize_}, dK{dK_ + offset() * keySize_, keySize_};
    const RightMatrix queries{chunk_.q, keySize_}, keys{chunk_.k, keySize_};
    double dSums[kChunkRows] = {};

    transpose(updates, rows, width_, byColumns_, kChunkRows);
    multiplyToLower(byRows(dY_, width_), {byColumns_, kChunkRows}, {dResponses_, kChunkRows}, rows, width_);
    multiplyToLower(byRows(dValues_, width_), {byColumns_, kChunkRows}, {dCouplings_, kChunkRows}, rows, width_);
    decayScores(scores, dSums);
    const LeftMatrix dResponses = byRows(dResponses_, kChunkRows), dCouplings = byRows(dCouplings_, kChunkRows);
    const LeftMatrix dResponsesByColumns = transposed(dResponses_, kChunkRows);
    multiplyLower(dResponses, keys, dQ, rows, keySize_, true);
    multiplyUpper(dResponsesByColumns, queries, dK, rows, keySize_, true);
    multiplyLower(dCouplings, keys, dK, rows, keySize_, true);
    multiplyUpper(transposed(dCouplings_, kChunkRows), keys, dK, rows, keySize_, true);

    dSums[rows - 1] += static_cast<double>(chunk_.lastDecay()) * dot(state, dState_, keySize_ * width_);
    transpose(dState_, keySize_, width_, byColumns_, keySize_);
    scaleRows(chunk_.toEnd, 1, updates);
    addStatePart(chunk_.k, dK.data, [&](int64_t t, float change) {
      dSums[t] -= change;
      dSums[rows - 1] += change;
    });
    scale(chunk_.lastDecay(), dState_, dState_, keySize_ * width_);
    transpose(state, keySize_, width_, byColumns_, keySize_);
    const auto raise = [&](int64_t t, float change) { dSums[t] += change; };
    scaleRows(chunk_.fromStart, -1, dValues_);
    addStatePart(chunk_.k, dK.data, raise);
    addToStateGradient(chunk_.k);
    scaleRows(chunk_.fromStart, 1, dY_);
    addStatePart(chunk_.q, dQ.data, raise);
    addToStateGradient(chunk_.q);

    double sum = 0;
    for (int64_t t = rows - 1; t >= 0; --t)
      rowOf<float>(rule_.dG, chunk_.first + t)[head] = static_cast<float>(sum += dSums[t]);
  }

  /// M and N from dY U^T and Z U^T; adds what the decays between rows change to dSums.
  void decayScores(ChunkScores scores, double* dSums) {
    const hn::ScalableTag<double> doubles;
    const hn::Rebind<float, decltype(doubles)> floats;
    const auto lanes = static_cast<int64_t>(hn::Lanes(doubles));
    for (int64_t t = 0; t < chunk_.rows; ++t) {
      float changes[kChunkRows] = {};
      const int64_t row = t * kChunkRows;
      dCouplings_[row + t] = 0;
      forVectors(t + 1, [&](int64_t s, auto part) HWY_ATTR {
        const FloatVector decay = load(chunk_.decays + row + s, part);
        const FloatVector response = hn::Mul(load(dResponses_ + row + s, part), decay);
        const FloatVector coupling = hn::Neg(hn::Mul(load(dCouplings_ + row + s, part), decay));
        const FloatVector change = hn::Mul(response, load(scores.queryKeys + row + s, part));
        store(response, dResponses_ + row + s, part);
        store(coupling, dCouplings_ + row + s, part);
        store(hn::MulAdd(coupling, load(scores.keyKeys + row + s, part), change), changes + s, part);
      });
      std::fill(dResponses_ + row + t + 1, dResponses_ + row + kChunkRows, 0.0f);
      std::fill(dCouplings_ + row + t + 1, dCouplings_ + row + kChunkRows, 0.0f);
      auto sum = hn::Zero(doubles);
      for (int64_t s = 0; s <= t; s += lanes) {
        const auto change = hn::PromoteTo(doubles, hn::LoadU(floats, changes + s));
        sum = hn::Add(sum, change);
        hn::StoreU(hn::Sub(hn::LoadU(doubles, dSums + s), change), doubles, dSums + s);
      }
      dSums[t] += hn::ReduceSum(doubles, sum);
    }
  }

  /// scaled = sign * factors * values by rows.
  void scaleRows(const float* factors, float sign, const float* values) {
    for (int64_t t = 0; t < chunk_.rows; ++t)
      scale(sign * factors[t], values + t * width_, scaled_ + t * width_, width_);
  }

  /// target += scaled byColumns; raise(t, its row t times that of `inputs`) gets what the row's decay changes.
  template <typename Raise>
  void addStatePart(const float* inputs, float* target, Raise&& raise) {
    multiply(byRows(scaled_, width_), {byColumns_, keySize_}, {part_, keySize_}, chunk_.rows, width_, keySize_, false);
    for (int64_t t = 0; t < chunk_.rows; ++t) raise(t, dot(inputs + t * keySize_, part_ + t * keySize_, keySize_));
    addTo(target, part_, chunk_.rows * keySize_);
  }

  void addToStateGradient(const float* inputs) {
    multiply(transposed(inputs, keySize_), {scaled_, width_}, {dState_, width_}, keySize_, chunk_.rows, width_, true);
  }

  const DeltaRule& rule_;
  Scratch scratch_;
  int64_t document_, keySize_, width_, begin_, rows_, chunks_;
  DeltaChunk<T> chunk_;
  float *scores_, *states_, *residuals_, *updates_, *dState_, *byColumns_, *dY_, *adjoints_, *dValues_, *scaled_,
      *part_, *dResponses_, *dCouplings_, *dQ_, *dK_;
};

void DifferentiateDeltaRule(const DeltaRule& rule, int64_t document, int64_t keyHead) {
  withFloatType(rule.q.dtype, "gatedDeltaRuleBackward",
                [&](auto type) HWY_ATTR { DeltaRuleGradient<decltype(type)>(rule, document).differentiate(keyHead); });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(DeltaRuleHead);
HWY_EXPORT(DifferentiateDeltaRule);

namespace {

/// Calls body(document, head) for every document and head, in parallel.
template <typename Body>
void forHeads(const DeltaRule& rule, int64_t documents, int64_t heads, Body&& body) {
  const int64_t work = rule.q.shape[0] * rule.valueHeads() * rule.keySize() * rule.valueSize();
  const int64_t items = documents * heads;
  parallelRanges(items, work / std::max<int64_t>(1, items) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) body(item / heads, item % heads);
  });
}

}  // namespace

void gatedDeltaRule(TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc g, TensorDesc beta, TensorDesc offsets,
                    TensorDesc state, TensorDesc y, TensorDesc finalState) {
  DeltaRule rule{q, k, v, g, beta, state};
  rule.offsets = risingOffsets("gatedDeltaRule", offsets, q.shape[0]);
  rule.y = y, rule.finalState = finalState;
  forHeads(rule, offsets.shape[0] - 1, rule.valueHeads(), [&](int64_t document, int64_t head) {
    HWY_DYNAMIC_DISPATCH(DeltaRuleHead)(rule, document, head);
  });
}

void gatedDeltaRuleBackward(TensorDesc dY, TensorDesc dFinal, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc g,
                            TensorDesc beta, TensorDesc offsets, TensorDesc state, TensorDesc dQ, TensorDesc dK,
                            TensorDesc dV, TensorDesc dG, TensorDesc dBeta, TensorDesc dState) {
  DeltaRule rule{q, k, v, g, beta, state};
  rule.offsets = risingOffsets("gatedDeltaRuleBackward", offsets, q.shape[0]);
  rule.dY = dY, rule.dFinal = dFinal, rule.dQ = dQ, rule.dK = dK, rule.dV = dV, rule.dG = dG, rule.dBeta = dBeta;
  rule.dState = dState;
  forHeads(rule, offsets.shape[0] - 1, rule.keyHeads(), [&](int64_t document, int64_t keyHead) {
    HWY_DYNAMIC_DISPATCH(DifferentiateDeltaRule)(rule, document, keyHead);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
