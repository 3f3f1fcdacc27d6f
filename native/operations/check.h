// Chained argument checks of the operations: `Check("rope").tensor("x", x).rank(3).floats()`, then `enqueue`.
#pragma once
#include <initializer_list>
#include <string>
#include <type_traits>

#include "core/tensor.h"

namespace mora {

class Check {
 public:
  explicit Check(const char* operation) : operation_(operation) {}

  /// Selects an argument, which must be present and on the device of the previous ones.
  Check& tensor(const char* name, const Tensor& tensor) {
    name_ = name;
    tensor_ = &tensor;
    if (!tensor) fail("a tensor", "nothing");
    if (!device_) device_ = &tensor.device();
    if (&tensor.device() != device_) fail("a tensor on " + device_->describe(), "one on " + tensor.device().describe());
    return *this;
  }
  Check& rank(int32_t rank) {
    return that(tensor_->rank() == rank, [&] { return std::to_string(rank) + " dimensions"; });
  }
  Check& shape(std::initializer_list<int64_t> shape) {
    bool equal = static_cast<size_t>(tensor_->rank()) == shape.size();
    int32_t i = 0;
    for (const int64_t length : shape) equal = equal && tensor_->size(i++) == length;
    return that(equal, [&] { return "the shape " + describeShape(shape.begin(), shape.size()); });
  }
  Check& sameShape(const Tensor& other) {
    bool equal = tensor_->rank() == other.rank();
    for (int32_t i = 0; equal && i < other.rank(); ++i) equal = tensor_->size(i) == other.size(i);
    return that(equal,
                [&] { return "the shape " + describeShape(other.desc().shape, static_cast<size_t>(other.rank())); });
  }
  Check& dtype(DType dtype) { return that(tensor_->dtype() == dtype, traitsOf(dtype).name); }
  Check& floats() { return that(isFloat(tensor_->dtype()), "float32, bfloat16 or float16"); }
  /// Elements of a row are contiguous; rows may have any stride.
  Check& rows() {
    return that(tensor_->rank() == 0 || tensor_->size(-1) <= 1 || tensor_->stride(-1) == 1,
                "a last dimension of stride 1");
  }
  Check& dense() { return that(tensor_->dense(), "dense memory"); }
  /// `expected` is a text, or a function that makes one on failure, since checks run far more often than they fail.
  template <typename Text>
  Check& that(bool holds, const Text& expected) {
    if (holds) return *this;
    if constexpr (std::is_invocable_v<Text>)
      fail(expected(), tensor_->describe());
    else
      fail(expected, tensor_->describe());
  }

  /// Enqueues an operation on the device of the checked tensors. Absent tensors have no data; numbers are converted.
  template <typename... Parameters, typename... Arguments>
  void enqueue(Status (*Backend::*operation)(Stream*, Parameters...), const Arguments&... arguments) const {
    const auto status = (device_->backend().*operation)(device_->stream(), converted<Parameters>(arguments)...);
    device_->check(status, operation_);
  }

  Device& device() const { return *device_; }
  const char* operation() const { return operation_; }

 private:
  template <typename Parameter, typename Argument>
  static Parameter converted(const Argument& argument) {
    if constexpr (std::is_same_v<Argument, Tensor>)
      return argument ? argument.desc() : TensorDesc{};
    else
      return static_cast<Parameter>(argument);
  }

  [[noreturn]] void fail(const std::string& expected, const std::string& came) const {
    throw Error("invalid-argument",
                std::string(operation_) + ": expected " + expected + " for " + name_ + " but received " + came + ".");
  }

  const char* operation_;
  const char* name_ = "";
  const Tensor* tensor_ = nullptr;
  Device* device_ = nullptr;
};

/// Checks for rows with the shape and dtype of x.
inline void checkRowsLike(Check& check, const char* name, const Tensor& tensor, const Tensor& x) {
  check.tensor(name, tensor).sameShape(x).dtype(x.dtype()).rows();
}

}  // namespace mora
