// A reference-counted block of device memory and strided views of it.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"

namespace mora {

struct Storage {
  Storage(Device& owner, size_t size) : device(owner), data(owner.allocate(size)), bytes(size) {}
  /// Wraps memory that is not the device's own.
  Storage(Device& owner, std::shared_ptr<void> memory, size_t size)
      : device(owner), data(memory.get()), bytes(size), kept(std::move(memory)) {}
  ~Storage() { kept ? device.letGo(std::move(kept)) : device.release(data); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device& device;
  void* data;
  size_t bytes;
  std::shared_ptr<void> kept;
};

class Tensor {
 public:
  Tensor() = default;
  /// A dense, uninitialised tensor. Throws Error for more than four dimensions, a negative one, or partial blocks.
  static Tensor empty(Device& device, DType dtype, const std::vector<int64_t>& shape);
  /// uint8 [bytes] over memory that is not the device's own; released once no enqueued operation uses it.
  static Tensor over(Device& device, std::shared_ptr<void> memory, size_t bytes);

  explicit operator bool() const { return storage_ != nullptr; }
  Device& device() const { return storage_->device; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  const TensorDesc& desc() const { return desc_; }
  DType dtype() const { return desc_.dtype; }
  int32_t rank() const { return desc_.rank; }
  int64_t size(int32_t dimension) const { return desc_.shape[dimension < 0 ? desc_.rank + dimension : dimension]; }
  int64_t stride(int32_t dimension) const { return desc_.strides[dimension < 0 ? desc_.rank + dimension : dimension]; }
  int64_t elements() const;
  bool dense() const;
  /// Bytes of the elements if dense.
  size_t bytes() const;
  /// Throws Error if the view would leave the storage.
  Tensor view(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, int64_t offset) const;
  /// The memory of this dense tensor from byte `offset` on, as a dense tensor of another dtype. Throws Error if it
  /// would leave this tensor.
  Tensor as(DType dtype, const std::vector<int64_t>& shape, int64_t offset) const;
  void reset() { storage_.reset(); }
  /// Like "bfloat16 [4, 576]", for messages.
  std::string describe() const;

 private:
  std::shared_ptr<Storage> storage_;
  TensorDesc desc_{};
};

std::string describeShape(const int64_t* shape, size_t rank);

}  // namespace mora
