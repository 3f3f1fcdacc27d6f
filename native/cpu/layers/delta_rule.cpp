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

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int64_t kChunkRows = 64;

/// The left matrix of a product, or its transpose: element (i, step) is data[i * row + step * column].
struct LeftMatrix {
  const float* data;
  int64_t row, column;
};
HWY_INLINE LeftMatrix byRows(const float* data, int64_t columns) { return {data, columns, 1}; }
HWY_INLINE LeftMatrix transposed(const float* data, int64_t columns) { return {data, 1, columns}; }

template <int kRows>
HWY_INLINE void multiplyRows(LeftMatrix a, const float* b, float* c, int64_t steps, int64_t columns, bool accumulate) {
  forVectors(columns, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = accumulate ? load(c + r * columns + i, part) : broadcast(0.0f);
    for (int64_t step = 0; step < steps; ++step) {
      const FloatVector right = load(b + step * columns + i, part);
      for (int r = 0; r < kRows; ++r)
        sums[r] = hn::MulAdd(broadcast(a.data[r * a.row + step * a.column]), right, sums[r]);
    }
    for (int r = 0; r < kRows; ++r) store(sums[r], c + r * columns + i, part);
  });
}

/// c [rows, columns] = (accumulate ? c : 0) + a [rows, steps] b [steps, columns]; b and c are dense.
HWY_INLINE void multiplyDense(LeftMatrix a, const float* b, float* c, int64_t rows, int64_t steps, int64_t columns,
                              bool accumulate) {
  constexpr int kTile = 8;
  int64_t i = 0;
  for (; i + kTile <= rows; i += kTile)
    multiplyRows<kTile>({a.data + i * a.row, a.row, a.column}, b, c + i * columns, steps, columns, accumulate);
  for (; i < rows; ++i)
    multiplyRows<1>({a.data + i * a.row, a.row, a.column}, b, c + i * columns, steps, columns, accumulate);
}

/// to [columns, rows] = the transpose of from [rows, columns].
HWY_INLINE void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = from[i * columns + j];
}

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

/// A chunk of one value head, in f32, and what follows from its keys, queries and decays alone.
template <typename T>
class DeltaChunk {
 public:
  DeltaChunk(const DeltaRule& rule, Scratch& scratch)
      : rule_(rule),
        q(scratch.take<float>(kChunkRows * rule.keySize())),
        k(scratch.take<float>(kChunkRows * rule.keySize())),
        keysByColumns_(scratch.take<float>(kChunkRows * rule.keySize())),
        queryKeys(scratch.take<float>(kChunkRows * kChunkRows)),
        keyKeys(scratch.take<float>(kChunkRows * kChunkRows)),
        decays(scratch.take<float>(kChunkRows * kChunkRows)),
        responses(scratch.take<float>(kChunkRows * kChunkRows)),
        couplings(scratch.take<float>(kChunkRows * kChunkRows)) {}

  void load(int64_t firstRow, int64_t count, int64_t head) {
    first = firstRow, rows = count;
    const int64_t keySize = rule_.keySize(), keyHead = head / rule_.group();
    double sums[kChunkRows], total = 0;
    for (int64_t t = 0; t < rows; ++t) {
      convert(rowAt<const T>(rule_.q, first + t, keyHead), q + t * keySize, keySize);
      scale(rule_.queryScale(), q + t * keySize, q + t * keySize, keySize);
      convert(rowAt<const T>(rule_.k, first + t, keyHead), k + t * keySize, keySize);
      sums[t] = total += rowOf<const float>(rule_.g, first + t)[head];
      beta[t] = rowOf<const float>(rule_.beta, first + t)[head];
    }
    for (int64_t t = 0; t < rows; ++t) {
      fromStart[t] = static_cast<float>(std::exp(sums[t]));
      toEnd[t] = static_cast<float>(std::exp(total - sums[t]));
      float* const row = decays + t * rows;
      for (int64_t s = 0; s <= t; ++s) row[s] = static_cast<float>(sums[t] - sums[s]);
      forVectors(t + 1, [&](int64_t s, auto part)
                            HWY_ATTR { store(expFloat(HWY_NAMESPACE::load(row + s, part)), row + s, part); });
      std::fill(row + t + 1, row + rows, 0.0f);
    }
    transpose(k, rows, keySize, keysByColumns_);
    multiplyDense(byRows(q, keySize), keysByColumns_, queryKeys, rows, keySize, rows, false);
    multiplyDense(byRows(k, keySize), keysByColumns_, keyKeys, rows, keySize, rows, false);
    for (int64_t i = 0; i < rows * rows; ++i) {
      responses[i] = queryKeys[i] * decays[i];
      couplings[i] = keyKeys[i] * decays[i];
    }
    for (int64_t t = 0; t < rows; ++t) couplings[t * rows + t] = 0;
  }

  float lastDecay() const { return fromStart[rows - 1]; }

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
  float *queryKeys, *keyKeys, *decays, *responses, *couplings;  // Q K^T, K K^T, D, P, A [rows, rows]
  float fromStart[kChunkRows], toEnd[kChunkRows], beta[kChunkRows];
};

/// residuals, updates [rows, valueSize] = R and U of a chunk that starts at `state`.
template <typename T>
void solveChunk(const DeltaRule& rule, const DeltaChunk<T>& chunk, int64_t head, const float* state, float* residuals,
                float* updates) {
  const int64_t width = rule.valueSize();
  multiplyDense(byRows(chunk.k, rule.keySize()), state, residuals, chunk.rows, rule.keySize(), width, false);
  for (int64_t t = 0; t < chunk.rows; ++t) {
    const T* const value = chunk.template rowAt<const T>(rule.v, chunk.first + t, head);
    const float* const coupling = chunk.couplings + t * chunk.rows;
    float *const residual = residuals + t * width, *const update = updates + t * width;
    forVectors(width, [&](int64_t j, auto part) HWY_ATTR {
      FloatVector rest = hn::NegMulAdd(broadcast(chunk.fromStart[t]), load(residual + j, part), load(value + j, part));
      for (int64_t s = 0; s < t; ++s)
        rest = hn::NegMulAdd(broadcast(coupling[s]), load(updates + s * width + j, part), rest);
      store(rest, residual + j, part);
      store(hn::Mul(broadcast(chunk.beta[t]), rest), update + j, part);
    });
  }
}

/// Moves the state past a chunk; `scaled` [rows, valueSize] is overwritten.
template <typename T>
void advanceState(const DeltaRule& rule, const DeltaChunk<T>& chunk, const float* updates, float* scaled,
                  float* state) {
  const int64_t keySize = rule.keySize(), width = rule.valueSize();
  for (int64_t t = 0; t < chunk.rows; ++t) scale(chunk.toEnd[t], updates + t * width, scaled + t * width, width);
  scale(chunk.lastDecay(), state, state, keySize * width);
  multiplyDense(transposed(chunk.k, keySize), scaled, state, keySize, chunk.rows, width, true);
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
    auto* const residuals = scratch.take<float>(kChunkRows * width);
    auto* const updates = scratch.take<float>(kChunkRows * width);
    auto* const results = scratch.take<float>(kChunkRows * width);
    const int64_t end = rule.offsets[document + 1];
    for (int64_t row = rule.offsets[document]; row < end; row += kChunkRows) {
      chunk.load(row, std::min(kChunkRows, end - row), head);
      solveChunk(rule, chunk, head, state, residuals, updates);
      multiplyDense(byRows(chunk.q, keySize), state, results, chunk.rows, keySize, width, false);
      for (int64_t t = 0; t < chunk.rows; ++t)
        scale(chunk.fromStart[t], results + t * width, results + t * width, width);
      multiplyDense(byRows(chunk.responses, chunk.rows), updates, results, chunk.rows, chunk.rows, width, true);
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
    for (int64_t head = keyHead * rule_.group(); head < (keyHead + 1) * rule_.group(); ++head) {
      recompute(head);
      startState(rule_.stateOf(rule_.dFinal, document_, head), dState_, keySize_ * width_);
      for (int64_t i = chunks_ - 1; i >= 0; --i) {
        loadChunk(i, head);
        solveAdjoint(head);
        differentiateChunk(head, states_ + i * keySize_ * width_);
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
  void loadChunk(int64_t index, int64_t head) {
    chunk_.load(begin_ + index * kChunkRows, std::min(kChunkRows, rows_ - index * kChunkRows), head);
  }
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
    multiplyDense(byRows(chunk_.k, keySize_), dState_, adjoints_, rows, keySize_, width_, false);
    for (int64_t t = 0; t < rows; ++t) scale(chunk_.toEnd[t], adjoints_ + t * width_, adjoints_ + t * width_, width_);
    multiplyDense(transposed(chunk_.responses, rows), dY_, adjoints_, rows, rows, width_, true);
    for (int64_t t = rows - 1; t >= 0; --t) {
      float *const adjoint = adjoints_ + t * width_, *const dValue = dValues_ + t * width_;
      forVectors(width_, [&](int64_t j, auto part) HWY_ATTR {
        FloatVector rest = load(adjoint + j, part);
        for (int64_t s = rows - 1; s > t; --s)
          rest = hn::NegMulAdd(broadcast(chunk_.couplings[s * rows + t]), load(dValues_ + s * width_ + j, part), rest);
        store(rest, adjoint + j, part);
        store(hn::Mul(broadcast(chunk_.beta[t]), rest), dValue + j, part);
      });
      const int64_t row = chunk_.first + t;
      convert(dValue, chunk_.template rowAt<T>(rule_.dV, row, head), width_);
      rowOf<float>(rule_.dBeta, row)[head] = dot(adjoint, residuals_ + (offset() + t) * width_, width_);
    }
  }

  /// Adds to dQ and dK, writes dg, and moves the gradient of the state to before the chunk.
  void differentiateChunk(int64_t head, const float* state) {
    const int64_t rows = chunk_.rows;
    const float* const updates = updates_ + offset() * width_;
    float *const dQ = dQ_ + offset() * keySize_, *const dK = dK_ + offset() * keySize_;
    double dSums[kChunkRows] = {};

    transpose(updates, rows, width_, byColumns_);
    multiplyDense(byRows(dY_, width_), byColumns_, dResponses_, rows, width_, rows, false);
    multiplyDense(byRows(dValues_, width_), byColumns_, dCouplings_, rows, width_, rows, false);
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t s = 0; s < rows; ++s) {
        const int64_t at = t * rows + s;
        dResponses_[at] *= chunk_.decays[at];
        dCouplings_[at] *= s < t ? -chunk_.decays[at] : 0.0f;
        const float change = dResponses_[at] * chunk_.queryKeys[at] + dCouplings_[at] * chunk_.keyKeys[at];
        dSums[t] += change;
        dSums[s] -= change;
      }
    multiplyDense(byRows(dResponses_, rows), chunk_.k, dQ, rows, rows, keySize_, true);
    multiplyDense(transposed(dResponses_, rows), chunk_.q, dK, rows, rows, keySize_, true);
    multiplyDense(byRows(dCouplings_, rows), chunk_.k, dK, rows, rows, keySize_, true);
    multiplyDense(transposed(dCouplings_, rows), chunk_.k, dK, rows, rows, keySize_, true);

    dSums[rows - 1] += static_cast<double>(chunk_.lastDecay()) * dot(state, dState_, keySize_ * width_);
    transpose(dState_, keySize_, width_, byColumns_);
    scaleRows(chunk_.toEnd, 1, updates);
    addStatePart(chunk_.k, dK, [&](int64_t t, float change) {
      dSums[t] -= change;
      dSums[rows - 1] += change;
    });
    scale(chunk_.lastDecay(), dState_, dState_, keySize_ * width_);
    transpose(state, keySize_, width_, byColumns_);
    const auto raise = [&](int64_t t, float change) { dSums[t] += change; };
    scaleRows(chunk_.fromStart, -1, dValues_);
    addStatePart(chunk_.k, dK, raise);
    multiplyDense(transposed(chunk_.k, keySize_), scaled_, dState_, keySize_, rows, width_, true);
    scaleRows(chunk_.fromStart, 1, dY_);
    addStatePart(chunk_.q, dQ, raise);
    multiplyDense(transposed(chunk_.q, keySize_), scaled_, dState_, keySize_, rows, width_, true);

    double sum = 0;
    for (int64_t t = rows - 1; t >= 0; --t)
      rowOf<float>(rule_.dG, chunk_.first + t)[head] = static_cast<float>(sum += dSums[t]);
  }

  /// scaled = sign * factors * values by rows.
  void scaleRows(const float* factors, float sign, const float* values) {
    for (int64_t t = 0; t < chunk_.rows; ++t)
      scale(sign * factors[t], values + t * width_, scaled_ + t * width_, width_);
  }

  /// target += scaled byColumns; raise(t, its row t times that of `inputs`) gets what the row's decay changes.
  template <typename Raise>
  void addStatePart(const float* inputs, float* target, Raise&& raise) {
    multiplyDense(byRows(scaled_, width_), byColumns_, part_, chunk_.rows, width_, keySize_, false);
    for (int64_t t = 0; t < chunk_.rows; ++t) raise(t, dot(inputs + t * keySize_, part_ + t * keySize_, keySize_));
    addTo(target, part_, chunk_.rows * keySize_);
  }

  const DeltaRule& rule_;
  Scratch scratch_;
  int64_t document_, keySize_, width_, begin_, rows_, chunks_;
  DeltaChunk<T> chunk_;
  float *states_, *residuals_, *updates_, *dState_, *byColumns_, *dY_, *adjoints_, *dValues_, *scaled_, *part_,
      *dResponses_, *dCouplings_, *dQ_, *dK_;
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
