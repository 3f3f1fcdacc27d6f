// Attention forward for single queries, as in generation with a cache: query by query, split over the keys.
//
//   q, out [Tq, H, E], k, v [Tk, K, E] in f32, bf16 or f16; lse [H, Tq] f32, may be absent.
//
// First kernel: a block has one query, some heads of one key-value head's group, and one of `splits` parts of the keys
// that the query sees. It reads each key and value of its part once (nearly all of the traffic: 2 Tk K E elements in
// all) and stores sums of weighted values relative to the part's largest score. The second kernel combines the parts in
// order.
#include <algorithm>

#include "cuda/attention/attention_kernels.h"
#include "cuda/attention/attention_softmax.h"
#include "cuda/dispatch.h"
#include "cuda/tensor_view.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr int kThreads = kQueryThreads;
constexpr int kBlocks = 2;       // resident blocks that a multiprocessor must have registers for
constexpr int kBlockKeys = 256;  // keys between two updates of the maximum
constexpr int kKeyLanes = 8;     // threads that read one key
constexpr int kMostHeads = 4;    // heads of a group that share a block
constexpr int kMostColumns = static_cast<int>(kMostHeadSize);
constexpr int64_t kLeastSplitKeys = 64, kMostSplits = 64;

/// Sums over a part of the keys: values [E] first.
struct Partial {
  float* data;  // [Tq, H, splits, E + 2]
  int32_t heads, splits, headSize;

  __device__ __forceinline__ float* values(int64_t query, int32_t head, int32_t split) const {
    return data + ((query * heads + head) * splits + split) * (headSize + 2);
  }
  __device__ __forceinline__ float& maximum(float* values) const { return values[headSize]; }
  __device__ __forceinline__ float& total(float* values) const { return values[headSize + 1]; }
};

struct Part {
  int64_t firstKey;  // of all documents' keys
  int32_t keys;
};

/// The keys of split `split` among those that a query (a row of q) sees, at most `window`; parts are multiples of a few
/// keys.
__device__ __forceinline__ Part partOf(const Documents& documents, int32_t query, int32_t window, int32_t split,
                                       int32_t splits) {
  const auto start = [&](int32_t document) { return documents.firstQuery(document); };
  const Document document = documents.at(lastNotAfter(documents.count, query, start));
  const int32_t end = document.visibleKeys(query - document.firstQuery), begin = max(0, end - window);
  const int32_t visible = end - begin;
  const int32_t size = ((visible + splits - 1) / splits + kKeyLanes - 1) / kKeyLanes * kKeyLanes;
  const int64_t first = static_cast<int64_t>(split) * size;
  return {document.firstKey + begin + first,
          static_cast<int32_t>(max(int64_t{0}, min(int64_t{size}, visible - first)))};
}

/// scores [heads, kBlockKeys] of `keys` keys from `firstKey`: 8 threads read a key together, kWidth elements at a time.
template <typename T, int kHeads, int kWidth>
__device__ __forceinline__ void scoreKeys(const ForwardArguments<T>& arguments, int64_t firstKey, int32_t keys,
                                          int32_t keyHead, const float (&q)[kHeads][kMostColumns],
                                          float (&scores)[kHeads][kBlockKeys]) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kKeyLanes,
                group = static_cast<int32_t>(threadIdx.x) / kKeyLanes;
  constexpr int kGroups = kThreads / kKeyLanes;
  const Scoring& scoring = arguments.scoring;
  for (int32_t base = 0; base < keys; base += kGroups) {
    const int32_t key = base + group;
    float sums[kHeads] = {};
    if (key < keys) {
      const T* const from = arguments.k.at(arguments.keyRows.of(firstKey + key), keyHead);
      for (int32_t column = lane * kWidth; column < arguments.headSize; column += kKeyLanes * kWidth) {
        float values[kWidth];
        load(from + column, values);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
#pragma unroll
          for (int i = 0; i < kWidth; ++i) sums[h] = fmaf(values[i], q[h][column + i], sums[h]);
        }
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      for (int offset = kKeyLanes / 2; offset > 0; offset /= 2) sums[h] += __shfl_xor_sync(kWholeWarp, sums[h], offset);
      if (lane == 0 && key < keys) scores[h][key] = scoring.softcap > 0 ? scoring.capped(sums[h]) : sums[h];
    }
  }
}

/// Running softmax of a block's heads.
template <int kHeads>
struct HeadSums {
  float maximum[kHeads], total[kHeads], shrink[kHeads];
};

/// Turns scores into weights, one warp per head.
template <int kHeads>
__device__ __forceinline__ void weighKeys(int32_t keys, float slope, float (&scores)[kHeads][kBlockKeys],
                                          HeadSums<kHeads>& sums) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % kWarp), head = static_cast<int32_t>(threadIdx.x / kWarp);
  if (head >= kHeads) return;
  float largest = sums.maximum[head], total = 0;
  const float before = largest;
  for (int32_t key = lane; key < keys; key += kWarp) largest = fmaxf(largest, scores[head][key]);
  largest = warpMax(largest);
  const float base = largest == kNothing ? 0.0f : largest;
  for (int32_t key = lane; key < keys; key += kWarp) {
    const float weight = exp2f((scores[head][key] - base) * slope);
    scores[head][key] = weight;
    total += weight;
  }
  total = warpSum(total);
  __syncwarp();  // all lanes have read the maximum
  if (lane != 0) return;
  const float shrink = exp2f((before - base) * slope);
  sums.maximum[head] = largest;
  sums.shrink[head] = shrink;
  sums.total[head] = sums.total[head] * shrink + total;
}

template <typename T, int kHeads, int kWidth>
__global__ void __launch_bounds__(kThreads, kBlocks) attentionDecode(ForwardArguments<T> arguments, Partial partial) {
  MORA_SHARED(float, q, [kHeads][kMostColumns]);
  MORA_SHARED(float, scores, [kHeads][kBlockKeys]);
  MORA_SHARED(float, gathered, [kThreads * kWidth]);
  MORA_SHARED(HeadSums<kHeads>, sums, );
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto query = static_cast<int32_t>(blockIdx.x), split = static_cast<int32_t>(blockIdx.z);
  const int32_t chunks = (arguments.group + kHeads - 1) / kHeads, keyHead = static_cast<int32_t>(blockIdx.y) / chunks;
  const int32_t inGroup = static_cast<int32_t>(blockIdx.y) % chunks * kHeads;
  const int32_t firstHead = keyHead * arguments.group + inGroup, heads = min(kHeads, arguments.group - inGroup);
  const int32_t headSize = arguments.headSize;
  const Part part = partOf(arguments.documents, query, arguments.scoring.window, split, partial.splits);

  for (int32_t i = thread; i < kHeads * kMostColumns; i += kThreads) {
    const int32_t head = i / kMostColumns, column = i % kMostColumns;
    q[head][column] = head < heads && column < headSize ? toFloat(arguments.q.at(query, firstHead + head)[column]) : 0;
  }
  if (thread < kHeads) sums.maximum[thread] = kNothing, sums.total[thread] = 0;
  __syncthreads();

  // A thread reads some columns of every `rows`-th row of the values.
  const int32_t pieces = (headSize + kWidth - 1) / kWidth, rows = kThreads / pieces;
  const int32_t row = thread / pieces, column = thread % pieces * kWidth;
  float values[kHeads][kWidth] = {};
  for (int32_t first = 0; first < part.keys; first += kBlockKeys) {
    const int32_t keys = min(kBlockKeys, part.keys - first);
    scoreKeys<T, kHeads, kWidth>(arguments, part.firstKey + first, keys, keyHead, q, scores);
    __syncthreads();
    weighKeys(keys, arguments.scoring.slope, scores, sums);
    __syncthreads();
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values[h][i] *= sums.shrink[h];
    }
    for (int32_t key = row; row < rows && key < keys; key += rows) {
      float loaded[kWidth];
      load(arguments.v.at(arguments.keyRows.of(part.firstKey + first + key), keyHead) + column, loaded);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) values[h][i] = fmaf(scores[h][key], loaded[i], values[h][i]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= heads) break;
    float* const to = partial.values(query, firstHead + h, split);
    if (row < rows) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) gathered[row * headSize + column + i] = values[h][i];
    }
    __syncthreads();
    for (int32_t i = thread; i < headSize; i += kThreads) {
      float sum = 0;
      for (int32_t other = 0; other < rows; ++other) sum += gathered[other * headSize + i];
      to[i] = sum;
    }
    if (thread == 0) partial.maximum(to) = sums.maximum[h], partial.total(to) = sums.total[h];
    __syncthreads();
  }
}

/// out and lse of one query and head per block, from the sums of the parts.
template <typename T>
__global__ void __launch_bounds__(kThreads) attentionCombine(ForwardArguments<T> arguments, Partial partial) {
  const int64_t query = blockIdx.x;
  const auto head = static_cast<int32_t>(blockIdx.y);
  float largest = kNothing, total = 0;
  for (int32_t split = 0; split < partial.splits; ++split)
    largest = fmaxf(largest, partial.maximum(partial.values(query, head, split)));
  const auto factorOf = [&](float* values) {
    const float maximum = partial.maximum(values);
    return maximum == kNothing && partial.total(values) == 0 ? 0.0f
                                                             : exp2f((maximum - largest) * arguments.scoring.slope);
  };
  for (int32_t split = 0; split < partial.splits; ++split) {
    float* const values = partial.values(query, head, split);
    total = fmaf(factorOf(values), partial.total(values), total);
  }
  for (auto i = static_cast<int32_t>(threadIdx.x); i < partial.headSize; i += static_cast<int32_t>(blockDim.x)) {
    float sum = 0;
    for (int32_t split = 0; split < partial.splits; ++split) {
      float* const values = partial.values(query, head, split);
      sum = fmaf(factorOf(values), values[i], sum);
    }
    arguments.out.at(query, head)[i] = fromFloat<T>(total == 0 ? 0.0f : sum / total);
  }
  if (threadIdx.x == 0 && arguments.lse != nullptr)
    arguments.lse[head * arguments.lseStride + query] = logSum(largest, total, arguments.scoring.softmaxScale);
}

}  // namespace

template <typename T>
void attendQueries(Context& context, const ForwardArguments<T>& arguments, int64_t heads) {
  const Documents& documents = arguments.documents;
  const int64_t keyHeads = heads / arguments.group;
  // Enough parts to keep every multiprocessor busy, if there are enough keys. The host only knows the number of keys of
  // all documents, and the window.
  const int64_t wanted = ceilDivide(int64_t{4} * context.multiprocessors, documents.queries * keyHeads);
  const int64_t possible = ceilDivide(arguments.scoring.window, kLeastSplitKeys);
  const int64_t splits = std::clamp<int64_t>(std::min(wanted, possible), 1, kMostSplits);
  const size_t floats = static_cast<size_t>(documents.queries * heads * splits * (arguments.headSize + 2));
  const Partial partial{static_cast<float*>(context.scratch(Slot::partials, sizeof(float) * floats)),
                        static_cast<int32_t>(heads), static_cast<int32_t>(splits), arguments.headSize};
  const auto queries = static_cast<unsigned>(documents.queries);
  const AttentionCost cost(arguments, heads, sizeof(T));
  expectCost(cost.queries + 2 * cost.keys, sizeof(float) * floats, 2 * cost.product);
  withWidth<kVectorWidth<T>>(arguments.wide, [&](auto width) {
    const auto launchHeads = [&](auto count) {
      constexpr int kHeads = decltype(count)::value;
      const dim3 grid(queries, static_cast<unsigned>(keyHeads * ceilDivide(arguments.group, kHeads)),
                      static_cast<unsigned>(splits));
      launch(attentionDecode<T, kHeads, decltype(width)::value>, grid, dim3(kThreads), 0, context.stream, arguments,
             partial);
    };
    if (arguments.group == 1)
      launchHeads(std::integral_constant<int, 1>{});
    else
      launchHeads(std::integral_constant<int, kMostHeads>{});
  });
  checkLaunch("attention");
  const dim3 grid(queries, static_cast<unsigned>(heads));
  expectCost(sizeof(float) * floats, cost.queries + (arguments.lse ? cost.rowFacts : 0));
  launch(attentionCombine<T>, grid, dim3(threadsFor(arguments.headSize, kThreads)), 0, context.stream, arguments,
         partial);
  checkLaunch("attention");
}

template void attendQueries(Context&, const ForwardArguments<float>&, int64_t);
template void attendQueries(Context&, const ForwardArguments<__nv_bfloat16>&, int64_t);
template void attendQueries(Context&, const ForwardArguments<__half>&, int64_t);

}  // namespace mora::cuda
