// fill, copy and add for any strides.
#include <hwy/base.h>

#include <cmath>
#include <cstring>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"
#include "cpu/strided_walk.h"

namespace mora::cpu {
namespace {

std::byte* addressOf(const TensorDesc& tensor, int64_t offset) {
  return static_cast<std::byte*>(tensor.data) + offset * traitsOf(tensor.dtype).blockBytes;
}

/// target[i * targetStride] = source[i * sourceStride]
void moveElements(DType type, const void* source, int64_t sourceStride, void* target, int64_t targetStride,
                  int64_t count) {
  withBits(type, [&](auto bits) {
    const auto* from = static_cast<const decltype(bits)*>(source);
    auto* to = static_cast<decltype(bits)*>(target);
    for (int64_t i = 0; i < count; ++i) to[i * targetStride] = from[i * sourceStride];
  });
}

/// target = (accumulate ? target : 0) + scale * source for float types.
void combine(const TensorDesc& source, const TensorDesc& target, float scale, bool accumulate) {
  const StridedWalk<2> walk({&source, &target});
  const int64_t sourceStride = walk.columnStride(0), targetStride = walk.columnStride(1);
  parallelRanges(walk.tiles(), walk.tileColumns(), [&](int64_t begin, int64_t end) {
    walk.visit(begin, end, [&](const StridedWalk<2>::Tile& tile) {
      // A strided side of a tile, which is then narrow, is copied through a dense buffer.
      alignas(64) std::byte sourceTile[StridedWalk<2>::kNarrowTile * 8], targetTile[StridedWalk<2>::kNarrowTile * 8];
      const void* from = addressOf(source, tile.offsets[0]);
      void* const to = addressOf(target, tile.offsets[1]);
      if (sourceStride != 1) {
        moveElements(source.dtype, from, sourceStride, sourceTile, 1, tile.columns);
        from = sourceTile;
      }
      if (targetStride == 1) {
        convertRow(source.dtype, from, target.dtype, to, tile.columns, scale, accumulate);
        return;
      }
      if (accumulate) moveElements(target.dtype, to, targetStride, targetTile, 1, tile.columns);
      convertRow(source.dtype, from, target.dtype, targetTile, tile.columns, scale, accumulate);
      moveElements(target.dtype, targetTile, 1, to, targetStride, tile.columns);
    });
  });
}

/// Copies elements of one type unchanged.
void move(const TensorDesc& source, const TensorDesc& target) {
  const StridedWalk<2> walk({&source, &target});
  const int64_t bytes = traitsOf(source.dtype).blockBytes;
  parallelRanges(walk.tiles(), walk.tileColumns(), [&](int64_t begin, int64_t end) {
    walk.visit(begin, end, [&](const StridedWalk<2>::Tile& tile) {
      const void* const from = addressOf(source, tile.offsets[0]);
      void* const to = addressOf(target, tile.offsets[1]);
      if (walk.contiguous())
        std::memmove(to, from, static_cast<size_t>(tile.columns * bytes));
      else
        moveElements(source.dtype, from, walk.columnStride(0), to, walk.columnStride(1), tile.columns);
    });
  });
}

/// The bits of `value` in an element type, in the low bytes.
uint64_t bitsOf(DType type, double value) {
  uint64_t bits = 0;
  const auto keep = [&bits](auto element) { std::memcpy(&bits, &element, sizeof(element)); };
  switch (type) {
    case DType::i32:
      keep(static_cast<int32_t>(value));
      break;
    case DType::i64:
      keep(static_cast<int64_t>(value));
      break;
    case DType::u8:
      keep(static_cast<uint8_t>(value));
      break;
    default: {
      const float single = static_cast<float>(value);
      convertRow(DType::f32, &single, type, &bits, 1);
    }
  }
  return bits;
}

}  // namespace

void fill(TensorDesc target, double value) {
  const uint64_t pattern = bitsOf(target.dtype, value);
  const StridedWalk<1> walk({&target});
  const int64_t stride = walk.columnStride(0);
  parallelRanges(walk.tiles(), walk.tileColumns(), [&](int64_t begin, int64_t end) {
    walk.visit(begin, end, [&](const StridedWalk<1>::Tile& tile) {
      withBits(target.dtype, [&](auto bits) {
        using Bits = decltype(bits);
        auto* const to = reinterpret_cast<Bits*>(addressOf(target, tile.offsets[0]));
        if (stride == 1)
          std::fill_n(to, tile.columns, static_cast<Bits>(pattern));
        else
          for (int64_t i = 0; i < tile.columns; ++i) to[i * stride] = static_cast<Bits>(pattern);
      });
    });
  });
}

void copy(TensorDesc source, TensorDesc target, float scale) {
  if (source.dtype == target.dtype && scale == 1.0f) return move(source, target);
  if (!isFloat(source.dtype) || !isFloat(target.dtype))
    unsupported(std::string("copying ") + traitsOf(source.dtype).name + " to " + traitsOf(target.dtype).name +
                " with scale " + std::to_string(scale));
  combine(source, target, scale, false);
}

void add(TensorDesc source, TensorDesc target, float scale) { combine(source, target, scale, true); }

}  // namespace mora::cpu
