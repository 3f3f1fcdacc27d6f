#include "core/tensor.h"

#include <cstdint>
#include <limits>

namespace mora {

std::string describeShape(const int64_t* shape, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

namespace {

TensorDesc denseDesc(DType dtype, const std::vector<int64_t>& shape, int64_t& count) {
  if (shape.size() > kMaxRank)
    throw Error("invalid-argument", "A tensor has at most 4 dimensions, not " + std::to_string(shape.size()) + ".");
  const DTypeTraits traits = traitsOf(dtype);
  if (isQuantised(dtype) && (shape.empty() || shape.back() % traits.blockSize != 0))
    throw Error("invalid-argument", std::string("Rows of ") + traits.name + " hold multiples of " +
                                        std::to_string(traits.blockSize) + " values, not " +
                                        describeShape(shape.data(), shape.size()) + ".");
  TensorDesc desc{};
  desc.dtype = dtype;
  desc.rank = static_cast<int32_t>(shape.size());
  count = 1;
  for (int32_t i = desc.rank - 1; i >= 0; --i) {
    const int64_t length = shape[static_cast<size_t>(i)];
    if (length < 0 || (length > 0 && count > std::numeric_limits<int64_t>::max() / 256 / length))
      throw Error("invalid-argument",
                  "A tensor cannot have the shape " + describeShape(shape.data(), shape.size()) + ".");
    desc.shape[i] = length;
    desc.strides[i] = count;
    count *= length;
  }
  return desc;
}

}  // namespace

Tensor Tensor::empty(Device& device, DType dtype, const std::vector<int64_t>& shape) {
  Tensor tensor;
  int64_t count = 0;
  tensor.desc_ = denseDesc(dtype, shape, count);
  tensor.storage_ = std::make_shared<Storage>(device, bytesFor(dtype, count));
  tensor.desc_.data = tensor.storage_->data;
  return tensor;
}

Tensor Tensor::over(Device& device, std::shared_ptr<void> memory, size_t bytes) {
  Tensor tensor;
  int64_t count = 0;
  tensor.desc_ = denseDesc(DType::u8, {static_cast<int64_t>(bytes)}, count);
  tensor.storage_ = std::make_shared<Storage>(device, std::move(memory), bytes);
  tensor.desc_.data = tensor.storage_->data;
  return tensor;
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int32_t i = 0; i < desc_.rank; ++i) count *= desc_.shape[i];
  return count;
}

bool Tensor::dense() const {
  int64_t expected = 1;
  for (int32_t i = desc_.rank - 1; i >= 0; --i) {
    if (desc_.shape[i] != 1 && desc_.strides[i] != expected) return false;
    expected *= desc_.shape[i];
  }
  return true;
}

size_t Tensor::bytes() const { return bytesFor(desc_.dtype, elements()); }

Tensor Tensor::view(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, int64_t offset) const {
  if (shape.size() > kMaxRank || shape.size() != strides.size() || offset < 0)
    throw Error("invalid-argument", "view: shape " + describeShape(shape.data(), shape.size()) + " and strides " +
                                        describeShape(strides.data(), strides.size()) + " do not make a view.");
  const DTypeTraits traits = traitsOf(desc_.dtype);
  Tensor result = *this;
  result.desc_.rank = static_cast<int32_t>(shape.size());
  int64_t last = offset, count = 1;
  // The same check for sizes that overflow 64 bits.
  double reach = static_cast<double>(offset), elements = 1;
  constexpr double kMost = 0x1p60;
  bool negative = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    result.desc_.shape[i] = shape[i];
    result.desc_.strides[i] = strides[i];
    negative = negative || shape[i] < 0 || strides[i] < 0;
    if (shape[i] > 0) reach += static_cast<double>(shape[i] - 1) * static_cast<double>(strides[i]);
    elements *= static_cast<double>(shape[i]);
    if (reach > kMost || elements > kMost) break;
    count *= shape[i];
    last += (shape[i] - 1) * strides[i];
  }
  const bool misaligned = traits.blockSize > 1 && (offset % traits.blockSize != 0 || shape.empty() ||
                                                   shape.back() % traits.blockSize != 0 || strides.back() != 1);
  const auto begin = static_cast<size_t>(static_cast<std::byte*>(desc_.data) - static_cast<std::byte*>(storage_->data));
  const int64_t whole = (last / traits.blockSize + 1) * traits.blockSize;
  if (negative || misaligned || reach > kMost || elements > kMost ||
      (count > 0 && begin + bytesFor(desc_.dtype, whole) > storage_->bytes))
    throw Error("invalid-argument", "view: shape " + describeShape(shape.data(), shape.size()) + ", strides " +
                                        describeShape(strides.data(), strides.size()) + " at " +
                                        std::to_string(offset) + " leaves the memory of " + describe() + ".");
  result.desc_.data = static_cast<std::byte*>(desc_.data) + bytesFor(desc_.dtype, offset);
  return result;
}

Tensor Tensor::as(DType dtype, const std::vector<int64_t>& shape, int64_t offset) const {
  Tensor result = *this;
  int64_t count = 0;
  result.desc_ = denseDesc(dtype, shape, count);
  const size_t wanted = bytesFor(dtype, count);
  if (!dense() || offset < 0 || wanted > bytes() || static_cast<size_t>(offset) > bytes() - wanted)
    throw Error("invalid-argument", "as: " + result.describe() + " at byte " + std::to_string(offset) +
                                        " leaves the memory of " + describe() + ".");
  result.desc_.data = static_cast<std::byte*>(desc_.data) + offset;
  if (!isQuantised(dtype) && reinterpret_cast<uintptr_t>(result.desc_.data) % bytesFor(dtype, 1) != 0)
    throw Error("invalid-argument",
                "as: byte " + std::to_string(offset) + " is no place for " + traitsOf(dtype).name + ".");
  return result;
}

std::string Tensor::describe() const {
  return std::string(traitsOf(desc_.dtype).name) + " " + describeShape(desc_.shape, static_cast<size_t>(desc_.rank));
}

}  // namespace mora
