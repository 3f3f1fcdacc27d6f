// Rotary position embedding (arXiv 2104.09864), half-split, of the first elements of every head.
#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// x [T, heads, E] for kernels.
template <typename T>
struct Heads {
  T* data;
  int64_t tokenStride, headStride;
};

/// Rotates pairs (x[j], x[j + half]) of every head in place by angle positions[t], j; direction -1 rotates back. A row
/// of the grid is a token, a piece N pairs of one head. Reads and writes the rotated elements once; the tables stay in
/// the caches. A position past the tables [limit, half] is reported, and its token is left unchanged.
template <typename T, int N>
__global__ void ropeKernel(Heads<T> x, const int32_t* positions, const float* cosines, const float* sines,
                           float direction, int64_t tokens, int32_t heads, int32_t half, int64_t limit,
                           DeviceReport* report) {
  const int32_t piecesPerHead = half / N;
  forPieces(tokens, static_cast<int64_t>(heads) * piecesPerHead, [&](int64_t token, int64_t piece) {
    const int64_t position = positions[token];
    if (!indexFits(report, Operation::rope, token, position, limit)) return;
    const int32_t head = static_cast<int32_t>(piece) / piecesPerHead;
    const int32_t pair = (static_cast<int32_t>(piece) - head * piecesPerHead) * N;
    T* const lower = x.data + token * x.tokenStride + head * x.headStride + pair;
    float first[N], second[N], cosine[N], sine[N];
    load(lower, first);
    load(lower + half, second);
    load(cosines + position * half + pair, cosine);
    load(sines + position * half + pair, sine);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float a = first[i], b = second[i], turn = direction * sine[i];
      first[i] = fmaf(-b, turn, a * cosine[i]);
      second[i] = fmaf(a, turn, b * cosine[i]);
    }
    store(first, lower);
    store(second, lower + half);
  });
}

}  // namespace

void rope(Context& context, TensorDesc x, TensorDesc positions, TensorDesc cosines, TensorDesc sines, bool inverse) {
  if (elementsOf(x) == 0 || cosines.shape[1] == 0) return;
  const int64_t tokens = x.shape[0];
  const int32_t heads = static_cast<int32_t>(x.shape[1]), half = static_cast<int32_t>(cosines.shape[1]);
  const uint64_t tables = static_cast<uint64_t>(tokens * half) * 2 * sizeof(float);
  const uint64_t rotated = bytesFor(x.dtype, tokens * heads * 2 * half);
  expectCost(rotated + bytesOf(positions) + tables, rotated);
  withFloatType(x.dtype, "rope", [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T>;
    withWidth<kWide>(half % kWide == 0 && allRowsFit(kWide, x, cosines, sines), [&](auto width) {
      launchPieces(ropeKernel<T, width>, tokens, int64_t{heads} * (half / width), context.stream,
                   Heads<T>{static_cast<T*>(x.data), x.strides[0], x.strides[1]},
                   static_cast<const int32_t*>(positions.data), static_cast<const float*>(cosines.data),
                   static_cast<const float*>(sines.data), inverse ? -1.0f : 1.0f, tokens, heads, half, cosines.shape[0],
                   context.report);
    });
  });
  checkLaunch("rope");
}

}  // namespace mora::cuda
