// Block formats on the device: random blocks in every target type, rank and layout. test/operations compares their
// values with those of the CPU, bit for bit.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

const DType kBlockTypes[] = {DType::q4_0,   DType::q4_1,   DType::q5_0,  DType::q5_1,  DType::q8_0,
                             DType::q2_k,   DType::q3_k,   DType::q4_k,  DType::q5_k,  DType::q6_k,
                             DType::iq4_nl, DType::iq4_xs, DType::mxfp4, DType::tq1_0, DType::tq2_0};

void unpacks(cuda::Context& context, DType type, const Shape& shape) {
  const DTypeTraits traits = traitsOf(type);
  const int64_t bytes = countOf(shape) / traits.blockSize * traits.blockBytes;
  const auto dequantise = [&](const Views& t) {
    TensorDesc source = t[1];
    source.data = t[0].data, source.dtype = type;
    int64_t stride = 1;
    for (int32_t d = source.rank - 1; d >= 0; stride *= source.shape[d--]) source.strides[d] = stride;
    cuda::dequantise(context, source, t[1]);
  };
  expectAlike(std::string("dequantise of ") + traits.name,
              {fixed(DType::u8, {bytes}, integers(bytes, 256, 1)), output(shape)}, dequantise, kExact);
}

}  // namespace

int main() {
  TestContext test;
  for (const DType type : kBlockTypes) {
    const int64_t block = traitsOf(type).blockSize;
    for (const Shape& shape : {Shape{1, 7 * block}, {3, 2 * block}, {9, block}}) unpacks(test.context, type, shape);
  }
  for (const Shape& shape : {Shape{768}, {2, 3, 128}, {2, 3, 2, 64}, {1, 24, 32}})
    unpacks(test.context, DType::q4_0, shape);
  return finish();
}
