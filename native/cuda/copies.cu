// fill, copy and add for any strides.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/strided_walk.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// target = value. Writes the target once.
template <typename T, int N>
__global__ void fillKernel(T* target, StridedWalk<1> walk, T value) {
  Vector<T, N> packed;
  for (int i = 0; i < N; ++i) packed.elements[i] = value;
  forPieces(walk.rows, walk.inner.size / N, [&](int64_t row, int64_t piece) {
    int64_t offsets[1];
    walk.locate(row, piece * N, offsets);
    *reinterpret_cast<Vector<T, N>*>(target + offsets[0]) = packed;
  });
}

/// target = source, bit for bit. Reads the source and writes the target once.
template <typename T, int N>
__global__ void moveKernel(const T* source, T* target, StridedWalk<2> walk) {
  forPieces(walk.rows, walk.inner.size / N, [&](int64_t row, int64_t piece) {
    int64_t offsets[2];
    walk.locate(row, piece * N, offsets);
    convert<N>(source + offsets[0], target + offsets[1]);
  });
}

/// target = (accumulate ? target : 0) + scale source. Reads the source and writes the target once; reads the target
/// first if it accumulates.
template <typename S, typename T, int N>
__global__ void combineKernel(const S* source, T* target, StridedWalk<2> walk, float scale, bool accumulate) {
  forPieces(walk.rows, walk.inner.size / N, [&](int64_t row, int64_t piece) {
    int64_t offsets[2];
    float values[N], before[N] = {};
    walk.locate(row, piece * N, offsets);
    load(source + offsets[0], values);
    if (accumulate) load(target + offsets[1], before);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = accumulate ? fmaf(scale, values[i], before[i]) : scale * values[i];
    store(values, target + offsets[1]);
  });
}

/// Fills with `value` converted to T.
template <typename T>
void fillAs(Context& context, const TensorDesc& target, T value) {
  const StridedWalk<1> walk({&target});
  if (walk.empty()) return;
  expectCost(0, bytesOf(target));
  constexpr int kWide = kVectorWidth<T>;
  withWidth<kWide>(walk.fits({&target}, kWide), [&](auto width) {
    launchPieces(fillKernel<T, width>, walk.rows, walk.inner.size / width, context.stream, static_cast<T*>(target.data),
                 walk, value);
  });
}

void move(Context& context, const TensorDesc& source, const TensorDesc& target) {
  const StridedWalk<2> walk({&source, &target});
  if (walk.empty()) return;
  expectCost(bytesOf(source), bytesOf(target));
  withBits(source.dtype, [&](auto bits) {
    using T = decltype(bits);
    constexpr int kWide = kVectorWidth<T>;
    withWidth<kWide>(walk.fits({&source, &target}, kWide), [&](auto width) {
      launchPieces(moveKernel<T, width>, walk.rows, walk.inner.size / width, context.stream,
                   static_cast<const T*>(source.data), static_cast<T*>(target.data), walk);
    });
  });
}

void combine(Context& context, const TensorDesc& source, const TensorDesc& target, float scale, bool accumulate) {
  const StridedWalk<2> walk({&source, &target});
  if (walk.empty()) return;
  expectCost(bytesOf(source) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  const char* const name = accumulate ? "add" : "copy";
  withFloatType(source.dtype, name, [&](auto sourceType) {
    withFloatType(target.dtype, name, [&](auto targetType) {
      using S = decltype(sourceType);
      using T = decltype(targetType);
      constexpr int kWide = kVectorWidth<S, T>;
      withWidth<kWide>(walk.fits({&source, &target}, kWide), [&](auto width) {
        launchPieces(combineKernel<S, T, width>, walk.rows, walk.inner.size / width, context.stream,
                     static_cast<const S*>(source.data), static_cast<T*>(target.data), walk, scale, accumulate);
      });
    });
  });
}

}  // namespace

void fill(Context& context, TensorDesc target, double value) {
  switch (target.dtype) {
    case DType::f32:
      fillAs(context, target, static_cast<float>(value));
      break;
    case DType::bf16:
      fillAs(context, target, __float2bfloat16_rn(static_cast<float>(value)));
      break;
    case DType::f16:
      fillAs(context, target, __float2half_rn(static_cast<float>(value)));
      break;
    case DType::i32:
      fillAs(context, target, static_cast<int32_t>(value));
      break;
    case DType::i64:
      fillAs(context, target, static_cast<int64_t>(value));
      break;
    case DType::u8:
      fillAs(context, target, static_cast<uint8_t>(value));
      break;
    default:
      unsupported(std::string("fill of ") + traitsOf(target.dtype).name);
  }
  checkLaunch("fill");
}

void copy(Context& context, TensorDesc source, TensorDesc target, float scale) {
  if (source.dtype == target.dtype && scale == 1.0f)
    move(context, source, target);
  else if (isFloat(source.dtype) && isFloat(target.dtype))
    combine(context, source, target, scale, false);
  else
    unsupported(std::string("copying ") + traitsOf(source.dtype).name + " to " + traitsOf(target.dtype).name +
                " with scale " + std::to_string(scale));
  checkLaunch("copy");
}

void add(Context& context, TensorDesc source, TensorDesc target, float scale) {
  combine(context, source, target, scale, true);
  checkLaunch("add");
}

}  // namespace mora::cuda
