// Causal grouped-query attention over packed documents and its gradient, for f32, bf16 and f16, without a T x T buffer.
//
//   q, out [Tq, H, E], k, v [Tk, K, E] with any row and head strides; lse [H, Tq] f32; offsets [B + 1] i32.
//   Query i of a document sees its keys up to i + (keys - queries), or only the last of those that fit its window. H is
//   a multiple of K: heads of a group share keys.
//
// Work is split into tasks of one document, one key-value head and some queries or keys (attention_plan.h). A task
// packs a block of keys once and multiplies it with all rows of its queries in tiles of a few rows: products with
// accumulators in registers or matrix units (attention_products-inl.h), and elementwise work between them on tiles in
// the nearest cache (attention_softmax-inl.h). Tasks of a few rows, as in decoding, read the keys in place
// (attention_decode-inl.h). What a task computes does not depend on the number of threads or on which of them runs it,
// so results have the same bits for any team.
#include <stdexcept>
#include <string>

#include "cpu/attention/attention_plan.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention/attention.cpp"
#include <hwy/foreach_target.h>

#include "cpu/attention/attention_backward-inl.h"
#include "cpu/attention/attention_decode-inl.h"
#include "cpu/attention/attention_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <class P, typename T>
void forwardTasks(const ForwardArguments<T>& arguments, const ForwardPlan& plan) {
  const AttentionSizes& sizes = arguments.sizes;
  const size_t bytes = ForwardBuffers<P>::bytes(sizes);
  Scratch scratch;
  auto* const memory = static_cast<std::byte*>(scratch.bytes(bytes * static_cast<size_t>(teamSize())));
  Carver measure(nullptr);
  SoftmaxSums(measure, kMostSplitRows, sizes.E);
  auto* const partials = static_cast<std::byte*>(scratch.bytes(measure.used() * static_cast<size_t>(plan.partials)));
  const auto partial = [&](int64_t index) {
    Carver carver(partials + static_cast<size_t>(index) * measure.used());
    return SoftmaxSums(carver, kMostSplitRows, sizes.E);
  };
  shareTasks(plan.tasks, sizes.E, [&](const AttentionTask& tasks, int member) {
    const MatrixUnits<P> units;
    const ForwardBuffers<P> buffers(Carver(memory + bytes * static_cast<size_t>(member)), sizes);
    for (int64_t head = 0; head < tasks.kvHeads; ++head) {
      const AttentionTask task = tasks.ofHead(head);
      const QueryRows rows{task, task.queries, sizes.group};
      const SoftmaxSums sums = task.partial < 0 ? buffers.sums : partial(task.partial);
      if (rows.count() <= kFewRows) {
        sumFewRows(arguments, rows, buffers, sums);
      } else {
        sumRows(arguments, rows, buffers, sums);
      }
      if (task.partial < 0) finishRows(arguments, rows, sums);
    }
  });
  const auto splitCount = static_cast<int64_t>(plan.splits.size());
  shareItems(splitCount, [&](int64_t i, int) {
    const AttentionTask& tasks = plan.splits[static_cast<size_t>(i)];
    const int64_t end = i + 1 < splitCount ? plan.splits[static_cast<size_t>(i) + 1].partial : plan.partials;
    for (int64_t head = 0; head < tasks.kvHeads; ++head) {
      const AttentionTask task = tasks.ofHead(head);
      const QueryRows rows{task, task.queries, sizes.group};
      const SoftmaxSums sums = partial(task.partial);
      for (int64_t part = task.partial + tasks.kvHeads; part < end; part += tasks.kvHeads) {
        mergeSums(sums, partial(part), rows.count(), sizes.E, arguments.scoring.softmaxScale());
      }
      finishRows(arguments, rows, sums);
    }
  });
}

void ForwardAttention(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                      const std::vector<Document>& documents, AttentionScoring scoring, const TensorDesc& out,
                      const TensorDesc& lse, const int32_t* keyRows) {
  withFloatType(q.dtype, "attention", [&](auto type) {
    using T = decltype(type);
    withPackedType<T>([&](auto packed) {
      using P = decltype(packed);
      const int64_t kvHeads = k.shape[1], group = q.shape[1] / kvHeads;
      const AttentionSizes sizes = attentionSizes<P>(q.shape[2], group, kForwardKeys);
      const ForwardArguments<T> arguments{
          Heads<const T>(q), KeyHeads<T>(k, keyRows), KeyHeads<T>(v, keyRows), Heads<T>(out), lse, scoring, sizes};
      forwardTasks<P>(arguments, planForward(documents, kvHeads, group, sizes.chunkQueries));
    });
  });
}

template <class P, typename T>
void backwardTasks(const BackwardArguments<T>& arguments, const std::vector<AttentionTask>& tasks) {
  const AttentionSizes& sizes = arguments.sizes;
  int64_t mostKeys = 0;
  for (const AttentionTask& task : tasks) mostKeys = std::max(mostKeys, task.writesKeys ? task.keys.size() : 0);
  const size_t bytes = BackwardBuffers<P>::bytes(sizes, mostKeys);
  Scratch scratch;
  auto* const memory = static_cast<std::byte*>(scratch.bytes(bytes * static_cast<size_t>(teamSize())));
  shareTasks(tasks, sizes.E, [&](const AttentionTask& task, int member) {
    const MatrixUnits<P> units;
    const BackwardBuffers<P> buffers(Carver(memory + bytes * static_cast<size_t>(member)), sizes, mostKeys);
    backwardTask<P>(arguments, task, buffers);
  });
}

void BackwardAttention(const TensorDesc& dOut, const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                       const TensorDesc& out, const TensorDesc& lse, const std::vector<Document>& documents,
                       AttentionScoring scoring, const TensorDesc& dQ, const TensorDesc& dK, const TensorDesc& dV) {
  withFloatType(q.dtype, "attentionBackward", [&](auto type) {
    using T = decltype(type);
    withPackedType<T>([&](auto packed) {
      using P = decltype(packed);
      const int64_t kvHeads = k.shape[1];
      const AttentionSizes sizes = attentionSizes<P>(q.shape[2], q.shape[1] / kvHeads, kBackwardKeys);
      const BackwardArguments<T> arguments{Heads<const T>(dOut),
                                           Heads<const T>(q),
                                           KeyHeads<T>(k),
                                           KeyHeads<T>(v),
                                           Heads<const T>(out),
                                           lse,
                                           Heads<T>(dQ),
                                           Heads<T>(dK),
                                           Heads<T>(dV),
                                           scoring,
                                           sizes};
      backwardTasks<P>(arguments, planBackward(documents, kvHeads, sizes.chunkQueries,
                                               roundUp(kTaskKeys, sizes.blockKeys), teamSize()));
    });
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(ForwardAttention);
HWY_EXPORT(BackwardAttention);

void attention(TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets, TensorDesc keyOffsets,
               AttentionScoring scoring, TensorDesc out, TensorDesc lse, TensorDesc keyRows) {
  constexpr const char* kName = "attention";
  const int64_t keys = present(keyRows) ? keyRows.shape[0] : k.shape[0];
  const auto documents = documentsOf(kName, queryOffsets, keyOffsets, q.shape[0], keys, true, scoring.window);
  if (present(keyRows) && !documents.empty()) {
    // The rows after the last document's keys, as many as the cache may still fill, are not read.
    TensorDesc read = keyRows;
    read.shape[0] = documents.back().firstKey + documents.back().keys;
    requireIndices(kName, read, k.shape[0]);
  }
  HWY_DYNAMIC_DISPATCH(ForwardAttention)
  (q, k, v, documents, scoring, out, lse, static_cast<const int32_t*>(keyRows.data));
}

void attentionBackward(TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out, TensorDesc lse,
                       TensorDesc queryOffsets, TensorDesc keyOffsets, AttentionScoring scoring, TensorDesc dQ,
                       TensorDesc dK, TensorDesc dV) {
  constexpr const char* kName = "attentionBackward";
  const auto documents = documentsOf(kName, queryOffsets, keyOffsets, q.shape[0], k.shape[0], false, scoring.window);
  HWY_DYNAMIC_DISPATCH(BackwardAttention)(dOut, q, k, v, out, lse, documents, scoring, dQ, dK, dV);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
