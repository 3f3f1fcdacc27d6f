// How copies walk tensors of any strides: dimensions are reordered and merged, so that the inner loop runs over as many
// contiguous elements of the target as possible, and cut into tiles that threads share.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "cpu/tensor_view.h"

namespace mora::cpu {

/// A walk over N tensors of one shape, in the memory order of the last one.
template <int N>
class StridedWalk {
 public:
  /// The largest number of columns of a tile: if all tensors are contiguous along them, and if one is transposed (such
  /// a tile is narrow, so that the cache lines of its strided side serve the next rows, too).
  static constexpr int64_t kWideTile = 16384, kNarrowTile = 64;

  struct Tile {
    int64_t offsets[N];  // of the first element, in each tensor
    int64_t columns;
  };

  explicit StridedWalk(const TensorDesc* const (&tensors)[N]) {
    for (int32_t d = 0; d < tensors[0]->rank; ++d) {
      Dimension dimension{tensors[0]->shape[d], {}};
      for (int t = 0; t < N; ++t) dimension.strides[t] = tensors[t]->strides[d];
      if (dimension.size != 1) dimensions_[count_++] = dimension;
    }
    std::stable_sort(dimensions_, dimensions_ + count_, [](const Dimension& a, const Dimension& b) {
      return std::abs(a.strides[N - 1]) > std::abs(b.strides[N - 1]);
    });
    mergeNeighbours();
    inner_ = count_ > 0 ? dimensions_[--count_] : Dimension{1, {}};
    if (inner_.size == 1) std::fill_n(inner_.strides, N, 1);
    for (int32_t d = 0; d < count_; ++d) rows_ *= dimensions_[d].size;
    contiguous_ = std::all_of(inner_.strides, inner_.strides + N, [](int64_t stride) { return stride == 1; });
    tileColumns_ = std::min(inner_.size, contiguous_ ? kWideTile : kNarrowTile);
    tiles_ = inner_.size == 0 ? 0 : rows_ * ((inner_.size + tileColumns_ - 1) / tileColumns_);
  }

  int64_t tiles() const { return tiles_; }
  int64_t tileColumns() const { return tileColumns_; }
  int64_t columnStride(int tensor) const { return inner_.strides[tensor]; }
  bool contiguous() const { return contiguous_; }

  /// Calls visit(Tile) for tiles [begin, end): all rows of the first columns, then of the next ones.
  template <typename Visit>
  void visit(int64_t begin, int64_t end, Visit&& visit) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i / rows_ * tileColumns_;
      Tile tile{{}, std::min(tileColumns_, inner_.size - column)};
      for (int t = 0; t < N; ++t) tile.offsets[t] = column * inner_.strides[t];
      int64_t row = i % rows_;
      for (int32_t d = count_ - 1; d >= 0; --d) {
        const int64_t at = row % dimensions_[d].size;
        row /= dimensions_[d].size;
        for (int t = 0; t < N; ++t) tile.offsets[t] += at * dimensions_[d].strides[t];
      }
      visit(tile);
    }
  }

 private:
  struct Dimension {
    int64_t size;
    int64_t strides[N];
  };

  void mergeNeighbours() {
    int32_t kept = 0;
    for (int32_t d = 1; d < count_; ++d) {
      Dimension& outer = dimensions_[kept];
      const Dimension& next = dimensions_[d];
      bool follows = true;
      for (int t = 0; t < N; ++t) follows = follows && outer.strides[t] == next.strides[t] * next.size;
      if (follows) {
        outer.size *= next.size;
        std::copy_n(next.strides, N, outer.strides);
      } else {
        dimensions_[++kept] = next;
      }
    }
    count_ = std::min(count_, kept + 1);
  }

  Dimension dimensions_[kMaxRank], inner_;
  int32_t count_ = 0;
  int64_t rows_ = 1, tiles_, tileColumns_;
  bool contiguous_;
};

}  // namespace mora::cpu
