// Dropout whose mask is a pure function of the key, the row's name and the column (core/math/philox.h).
#include <algorithm>

#include "core/math/philox.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/dropout.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

using WordTag = hn::RebindToUnsigned<FloatTag>;
using WordVector = hn::Vec<WordTag>;

HWY_INLINE void multiply(WordVector a, uint32_t b, WordVector& high, WordVector& low) {
  const WordTag tag;
  const WordVector factor = hn::Set(tag, b);
  const WordVector even = hn::BitCast(tag, hn::MulEven(a, factor)), odd = hn::BitCast(tag, hn::MulOdd(a, factor));
  high = hn::OddEven(odd, hn::DupOdd(even));
  low = hn::OddEven(hn::DupEven(odd), even);
}

/// philox4x32 in place, with one counter per lane.
HWY_INLINE void philoxVectors(WordVector& word0, WordVector& word1, WordVector& word2, WordVector& word3, uint32_t key0,
                              uint32_t key1) {
  const WordTag tag;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    WordVector high0, low0, high2, low2;
    multiply(word0, kPhiloxMultiplier0, high0, low0);
    multiply(word2, kPhiloxMultiplier2, high2, low2);
    word0 = hn::Xor3(high2, word1, hn::Set(tag, key0));
    word1 = low2;
    word2 = hn::Xor3(high0, word3, hn::Set(tag, key1));
    word3 = low0;
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
}

/// `factor` if the word's uniform number keeps the element, 0 if it drops it.
HWY_INLINE FloatVector keepFactor(WordVector word, FloatVector probability, FloatVector factor) {
  const auto whole = hn::BitCast(hn::RebindToSigned<FloatTag>(), hn::ShiftRight<8>(word));
  const FloatVector uniform = hn::Mul(hn::ConvertTo(FloatTag(), whole), broadcast(0x1p-24f));
  return hn::IfThenElseZero(hn::Ge(uniform, probability), factor);
}

template <typename T>
void dropRow(const T* x, T* y, int64_t count, int64_t rowKey, const DropoutKey& key) {
  const WordTag tag;
  const int64_t groups = static_cast<int64_t>(hn::Lanes(tag));  // groups of 4 columns at a time
  const FloatVector probability = broadcast(key.probability), factor = broadcast(1.0f / (1.0f - key.probability));
  HWY_ALIGN float factors[4 * hn::MaxLanes(tag)];
  for (int64_t column = 0; column < count; column += 4 * groups) {
    const PhiloxWords counter = dropoutCounter(rowKey, static_cast<uint32_t>(column / 4));
    WordVector word0 = hn::Set(tag, counter.word[0]), word1 = hn::Set(tag, counter.word[1]);
    WordVector word2 = hn::Iota(tag, counter.word[2]), word3 = hn::Set(tag, counter.word[3]);
    philoxVectors(word0, word1, word2, word3, key.key[0], key.key[1]);
    hn::StoreInterleaved4(keepFactor(word0, probability, factor), keepFactor(word1, probability, factor),
                          keepFactor(word2, probability, factor), keepFactor(word3, probability, factor), FloatTag(),
                          factors);
    // A product, not a selection: non-finite values stay non-finite even if dropped.
    forVectors(std::min(4 * groups, count - column), [&](int64_t i, auto part) HWY_ATTR {
      store(hn::Mul(load(x + column + i, part), load(factors + i, part)), y + column + i, part);
    });
  }
}

void DropRows(const TensorDesc& x, const int64_t* rowKeys, const DropoutKey& key, const TensorDesc& y, int64_t begin,
              int64_t end) {
  withFloatType(x.dtype, "dropout", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row)
      dropRow(rowOf<const T>(x, row), rowOf<T>(y, row), columnsOf(x), rowKeys[row], key);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(DropRows);

void dropout(TensorDesc x, TensorDesc rowKeys, DropoutKey key, TensorDesc y) {
  parallelRanges(x.shape[0], columnsOf(x), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(DropRows)(x, static_cast<const int64_t*>(rowKeys.data), key, y, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
