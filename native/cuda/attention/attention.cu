// Causal grouped-query attention over packed documents and its gradient, without a T x T buffer: the launchers. The
// kernels are in attention_forward.cu, attention_decode.cu, attention_query_gradient.cu and attention_key_gradient.cu.
//
//   q, out [Tq, H, E], k, v [Tk, K, E] with any row and head strides; lse [H, Tq] f32; offsets [B + 1] i32.
//   Query i of a document sees its keys up to i + (keys - queries), or only the last of those that fit its window. H is
//   a multiple of K: heads of a group share keys.
#include <limits>
#include <string>

#include "cuda/attention/attention_kernels.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/offsets.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

template <typename T>
Heads<T> headsOf(const TensorDesc& tensor) {
  return {static_cast<T*>(tensor.data), tensor.strides[0], tensor.strides[1]};
}

Documents documentsOf(const TensorDesc& queryOffsets, const TensorDesc& keyOffsets, int64_t queries, int64_t keys) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // offsets are i32
  if (queries > kMost || keys > kMost) unsupported("attention over more than 2147483647 rows");
  return {static_cast<const int32_t*>(queryOffsets.data), static_cast<const int32_t*>(keyOffsets.data),
          static_cast<int32_t>(elementsOf(queryOffsets) - 1), static_cast<int32_t>(queries),
          static_cast<int32_t>(keys)};
}

KeyRows keyRowsOf(const TensorDesc& keyRows, const TensorDesc& k) {
  return {static_cast<const int32_t*>(keyRows.data), static_cast<int32_t>(k.shape[0])};
}

Scoring scoringOf(const AttentionScoring& scoring, const Documents& documents) {
  const float softmaxScale = scoring.softmaxScale();
  const auto window = static_cast<int32_t>(scoring.mostVisible(documents.keys));
  return {scoring.scale,
          scoring.softcap > 0 ? scoring.scale / scoring.softcap : 0.0f,
          scoring.softcap,
          softmaxScale,
          softmaxScale * kLog2E,
          window,
          scoring.softcap == 0 && window == documents.keys};
}

void requireUsable(const char* operation, int64_t headSize) {
  if (headSize > kMostHeadSize)
    unsupported(std::string(operation) + " with a head size of " + std::to_string(headSize) + ", more than " +
                std::to_string(kMostHeadSize) + ",");
}

}  // namespace

void attention(Context& context, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets,
               TensorDesc keyOffsets, AttentionScoring scoring, TensorDesc out, TensorDesc lse, TensorDesc keyRows) {
  const int64_t heads = q.shape[1], headSize = q.shape[2];
  const int64_t keys = keyRows.data == nullptr ? k.shape[0] : keyRows.shape[0];
  requireOffsets(context, queryOffsets, keyOffsets, q.shape[0], keys);
  requireUsable("attention", headSize);
  const Documents documents = documentsOf(queryOffsets, keyOffsets, q.shape[0], keys);
  if (documents.queries == 0 || documents.count == 0 || heads == 0) return;
  withFloatType(q.dtype, "attention", [&](auto type) {
    using T = decltype(type);
    const ForwardArguments<T> arguments{headsOf<const T>(q),
                                        headsOf<const T>(k),
                                        headsOf<const T>(v),
                                        headsOf<T>(out),
                                        static_cast<float*>(lse.data),
                                        lse.strides[0],
                                        documents,
                                        keyRowsOf(keyRows, k),
                                        static_cast<int32_t>(heads / k.shape[1]),
                                        static_cast<int32_t>(headSize),
                                        scoringOf(scoring, documents),
                                        allRowsFit(kVectorWidth<T>, q, k, v, out)};
    // One query per document: decoding, or documents of one token.
    if (documents.queries <= documents.count && fitsQueries(arguments))
      attendQueries(context, arguments, heads);
    else
      attendTiles(context, arguments, heads);
  });
}

void attentionBackward(Context& context, TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out,
                       TensorDesc lse, TensorDesc queryOffsets, TensorDesc keyOffsets, AttentionScoring scoring,
                       TensorDesc dQ, TensorDesc dK, TensorDesc dV) {
  const int64_t heads = q.shape[1], headSize = q.shape[2];
  requireUsable("attentionBackward", headSize);
  const Documents documents = documentsOf(queryOffsets, keyOffsets, q.shape[0], k.shape[0]);
  if (documents.count == 0 || heads == 0) return;
  withFloatType(q.dtype, "attentionBackward", [&](auto type) {
    using T = decltype(type);
    const size_t deltas = sizeof(float) * static_cast<size_t>(heads * q.shape[0]);
    const BackwardArguments<T> arguments{headsOf<const T>(dOut),
                                         headsOf<const T>(q),
                                         headsOf<const T>(k),
                                         headsOf<const T>(v),
                                         headsOf<const T>(out),
                                         static_cast<const float*>(lse.data),
                                         lse.strides[0],
                                         static_cast<float*>(context.scratch(Slot::partials, deltas)),
                                         headsOf<T>(dQ),
                                         headsOf<T>(dK),
                                         headsOf<T>(dV),
                                         documents,
                                         keyRowsOf({}, k),
                                         static_cast<int32_t>(heads / k.shape[1]),
                                         static_cast<int32_t>(headSize),
                                         scoringOf(scoring, documents),
                                         allRowsFit(kVectorWidth<T>, dOut, q, k, v, out, dQ, dK, dV)};
    differentiateQueries(context, arguments, heads);
    differentiateKeys(context, arguments, heads / arguments.group);
  });
}

}  // namespace mora::cuda
