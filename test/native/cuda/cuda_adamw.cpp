// AdamW of CUDA over lists of tensors and the norm of gradients, aligned and not.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const int64_t kCounts[] = {5, 0, 8192, 1, 20000, 0, 64};

/// Every stride-th view from `first` on.
std::vector<TensorDesc> listOf(const Views& views, size_t first, size_t stride) {
  std::vector<TensorDesc> list;
  for (size_t i = first; i < views.size(); i += stride) list.push_back(views[i]);
  return list;
}
TensorList listed(const std::vector<TensorDesc>& tensors) {
  return {tensors.data(), static_cast<int64_t>(tensors.size())};
}

void steps(cuda::Context& context) {
  std::vector<Operand> operands{fixed(DType::f32, {1}, {0.25})};
  unsigned seed = 1;
  for (const int64_t count : kCounts) {
    // The second moment's roots are taken.
    Operand secondMoment = changes({count}, ++seed).as(DType::f32);
    for (double& value : secondMoment.values) value = std::abs(value);
    operands.push_back(changes({count}, ++seed).as(DType::f32).dense());
    operands.push_back(reads({count}, ++seed).as(DType::f32));
    operands.push_back(changes({count}, ++seed).as(DType::f32));
    operands.push_back(secondMoment);
  }
  const AdamWStep step{1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.271f, 0.142625f};
  expectAlike("adamw", operands, [&](const Views& t) {
    const auto [parameters, gradients] = std::pair{listOf(t, 1, 4), listOf(t, 2, 4)};
    const auto [first, second] = std::pair{listOf(t, 3, 4), listOf(t, 4, 4)};
    cuda::adamw(context, listed(parameters), listed(gradients), listed(first), listed(second), step, t[0]);
  });
  const DeviceTensor scale(DType::f32, {1}, {0.25});
  cuda::adamw(context, {}, {}, {}, {}, step, scale);
}

void norms(cuda::Context& context) {
  std::vector<Operand> operands{fixed(DType::f32, {1}, {7}).overwritten()};
  for (const int64_t count : kCounts) operands.push_back(reads({count}, 3).as(DType::f32));
  expectAlike("globalNorm", operands, [&](const Views& t) {
    const std::vector<TensorDesc> gradients = listOf(t, 1, 1);
    cuda::globalNorm(context, listed(gradients), t[0]);
  });
}

}  // namespace

int main() {
  TestContext test;
  steps(test.context);
  norms(test.context);
  return finish();
}
