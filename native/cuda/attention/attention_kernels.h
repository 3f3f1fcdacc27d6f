// The arguments of attention's kernels, and helpers that select a kernel.
#pragma once
#include <algorithm>
#include <limits>
#include <string>
#include <type_traits>

#include "core/error.h"
#include "cuda/attention/attention_documents.h"
#include "cuda/device_code.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

constexpr float kLog2E = 0x1.715476p+0f;
constexpr int kQueryThreads = 256;                                   // of a block of attendQueries
constexpr float kNothing = -std::numeric_limits<float>::infinity();  // the score of an invisible key

/// How kernels compute scores from products q.k (core/backend.h, AttentionScoring).
struct Scoring {
  float scale;           // of the products
  float inner, softcap;  // softcap tanh(inner q.k); softcap 0: no cap
  float softmaxScale;    // of capped scores, or of the products
  float slope;           // softmaxScale * log2(e): scores to exponents of 2
  int32_t window;        // the largest number of keys that a query sees
  bool plain;            // neither cap nor window has an effect

  __device__ __forceinline__ float capped(float product) const { return softcap * tanhf(inner * product); }
  /// The derivative of the cap where its result is `value`.
  __device__ __forceinline__ float slopeOfCap(float value) const {
    const float tanh = value / softcap;
    return fmaf(-tanh, tanh, 1.0f);
  }
};

template <typename T>
struct ForwardArguments {
  Heads<const T> q, k, v;
  Heads<T> out;
  float* lse;  // [H, Tq], or null
  int64_t lseStride;
  Documents documents;
  KeyRows keyRows;
  int32_t group, headSize;  // query heads per key-value head; E
  Scoring scoring;
  bool wide;  // rows of all tensors start at 16-byte boundaries and are whole vectors
};

template <typename T>
struct BackwardArguments {
  Heads<const T> dOut, q, k, v, out;
  const float* lse;  // [H, Tq]
  int64_t lseStride;
  float* delta;  // [H, Tq] dense: sum of dOut * out
  Heads<T> dQ, dK, dV;
  Documents documents;
  KeyRows keyRows;
  int32_t group, headSize;
  Scoring scoring;
  bool wide;

  /// The logarithm to base 2 of a row's softmax sum; an arbitrary finite number if the row sees no key.
  __device__ __forceinline__ float logSum2(int64_t head, int64_t row) const {
    const float value = lse[head * lseStride + row];
    return value == kNothing ? 0.0f : value * kLog2E;
  }
  __device__ __forceinline__ float deltaAt(int64_t head, int64_t row) const {
    return delta[head * documents.queries + row];
  }
};

/// Tiles of queries: attention_forward.cu.
template <typename T>
void attendTiles(Context& context, const ForwardArguments<T>& arguments, int64_t heads);
/// Query by query, split over keys: attention_decode.cu. A thread has one vector of a head, or one element.
template <typename T>
void attendQueries(Context& context, const ForwardArguments<T>& arguments, int64_t heads);
template <typename T>
bool fitsQueries(const ForwardArguments<T>& arguments) {
  return arguments.wide || arguments.headSize <= kQueryThreads;
}
/// delta, then dQ: attention_query_gradient.cu.
template <typename T>
void differentiateQueries(Context& context, const BackwardArguments<T>& arguments, int64_t heads);
/// dK and dV, after delta: attention_key_gradient.cu.
template <typename T>
void differentiateKeys(Context& context, const BackwardArguments<T>& arguments, int64_t keyHeads);

/// Traffic and FLOPs of attention for the trace: each tensor once, and the pairs of a query and a key as if there were
/// one document, an upper bound.
struct AttentionCost {
  uint64_t queries, keys;  // bytes of a tensor like q, like k
  uint64_t rowFacts;       // bytes of a tensor like lse
  uint64_t product;        // FLOPs of one product over all pairs

  template <typename Arguments>
  AttentionCost(const Arguments& arguments, int64_t heads, size_t elementBytes) {
    const int64_t Tq = arguments.documents.queries, Tk = arguments.documents.keys, E = arguments.headSize;
    const int64_t all = Tk >= Tq ? Tq * Tk - Tq * (Tq - 1) / 2 : Tk * (Tk + 1) / 2;
    const int64_t pairs = std::min(all, Tq * arguments.scoring.window);
    queries = static_cast<uint64_t>(Tq * heads * E) * elementBytes;
    keys = static_cast<uint64_t>(Tk * (heads / arguments.group) * E) * elementBytes;
    rowFacts = static_cast<uint64_t>(Tq * heads) * sizeof(float);
    product = static_cast<uint64_t>(2 * pairs * heads * E);
  }
};

constexpr int64_t kMostHeadSize = 512;

/// Calls body(std::integral_constant<int, columns>) with the smallest compiled head size of at least `headSize`.
template <typename Body>
void withHeadSize(int64_t headSize, Body&& body) {
  if (headSize <= 32) return body(std::integral_constant<int, 32>{});
  if (headSize <= 64) return body(std::integral_constant<int, 64>{});
  if (headSize <= 80) return body(std::integral_constant<int, 80>{});
  if (headSize <= 96) return body(std::integral_constant<int, 96>{});
  if (headSize <= 128) return body(std::integral_constant<int, 128>{});
  if (headSize <= 256) return body(std::integral_constant<int, 256>{});
  body(std::integral_constant<int, kMostHeadSize>{});
}

/// Calls body(std::integral_constant<bool, plain>): plain kernels contain no code for windows and caps.
template <typename Body>
void withScoring(const Scoring& scoring, Body&& body) {
  if (scoring.plain) return body(std::true_type{});
  body(std::false_type{});
}

/// Launches a kernel of those sizes over tiles of the documents' `rows` rows, for each of `heads` heads.
template <typename Sizes, typename Kernel, typename Arguments>
void launchTiles(Context& context, const char* operation, Kernel kernel, const Arguments& arguments, int64_t rows,
                 int64_t heads) {
  if (rows == 0 || heads == 0) return;
  if (Sizes::kSharedBytes > context.sharedBytesPerBlock)
    throw Unsupported(std::string(operation) + " needs " + std::to_string(Sizes::kSharedBytes) +
                      " bytes of shared memory per block but the device has " +
                      std::to_string(context.sharedBytesPerBlock) + ".");
  constexpr size_t kAlwaysAllowed = 48 * 1024;
  if (Sizes::kSharedBytes > kAlwaysAllowed)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(Sizes::kSharedBytes));
  const dim3 grid(tileNumbers(rows, arguments.documents.count, Sizes::kRows), static_cast<unsigned>(heads),
                  Sizes::kParts);
  launch(kernel, grid, dim3(Sizes::kThreads), Sizes::kSharedBytes, context.stream, arguments);
  checkLaunch(operation);
}

}  // namespace mora::cuda
