// Block formats on the device, bit for bit against the CPU's: random blocks of every type, every target type, rows of
// one and several blocks, contiguous and not.
#include "cpu/stored/dequantise.h"

#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

const DType kBlockTypes[] = {DType::q4_0,   DType::q4_1,   DType::q5_0,  DType::q5_1,  DType::q8_0,
                             DType::q2_k,   DType::q3_k,   DType::q4_k,  DType::q5_k,  DType::q6_k,
                             DType::iq4_nl, DType::iq4_xs, DType::mxfp4, DType::tq1_0, DType::tq2_0};

/// Positions of a block's f16 scales.
std::vector<int> scalesOf(DType type) {
  switch (type) {
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
      return {0, 2};
    case DType::q2_k:
      return {80, 82};
    case DType::q3_k:
      return {108};
    case DType::q6_k:
      return {208};
    case DType::tq1_0:
      return {52};
    case DType::tq2_0:
      return {64};
    case DType::mxfp4:
      return {};
    default:
      return {0};
  }
}

/// Random bytes with finite scales: normal and subnormal ones of both signs, and zero.
std::vector<uint8_t> randomBlocks(DType type, int64_t count, unsigned seed) {
  const DTypeTraits traits = traitsOf(type);
  std::mt19937 generator(seed);
  std::vector<uint8_t> blocks(static_cast<size_t>(count * traits.blockBytes));
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(generator());
  const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x3c00};
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* const block = blocks.data() + i * traits.blockBytes;
    if (type == DType::mxfp4) block[0] = static_cast<uint8_t>(i < 3 ? i : generator() % 255);
    for (const int at : scalesOf(type)) {
      const auto bits = static_cast<uint16_t>(i < 5 ? special[i] : generator() % 0x7000 | (generator() & 0x8000));
      std::memcpy(block + at, &bits, sizeof bits);
    }
  }
  return blocks;
}

class DeviceBytes {
 public:
  explicit DeviceBytes(const std::vector<uint8_t>& bytes) {
    succeed(cudaMalloc(&data, bytes.size()));
    succeed(cudaMemcpy(data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  }
  ~DeviceBytes() { cudaFree(data); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  void* data = nullptr;
};

struct Matrix {
  int64_t rows, columns;
};

Values valuesOf(DType type, const std::vector<uint8_t>& blocks, DType target) {
  const DTypeTraits traits = traitsOf(type);
  std::vector<float> values(blocks.size() / static_cast<size_t>(traits.blockBytes) *
                            static_cast<size_t>(traits.blockSize));
  cpu::dequantiseRow(type, blocks.data(), static_cast<int64_t>(values.size()), DType::f32, values.data());
  Values expected;
  for (const float value : values) expected.push_back(rounded(target, value));
  return expected;
}

bool sameBits(const Values& actual, const Values& expected) {
  return std::equal(actual.begin(), actual.end(), expected.begin(), expected.end(),
                    [](double a, double b) { return a == b && std::signbit(a) == std::signbit(b); });
}

void unpacksRows(cuda::Context& context) {
  for (const DType type : kBlockTypes)
    for (const auto [rows, blocksPerRow] : {Matrix{1, 7}, {3, 2}, {9, 1}}) {
      const int64_t columns = blocksPerRow * traitsOf(type).blockSize;
      const std::vector<uint8_t> blocks = randomBlocks(type, rows * blocksPerRow, 1);
      const DeviceBytes memory(blocks);
      const TensorDesc source{memory.data, type, 2, {rows, columns}, {columns, 1}};
      for (const DType to : kFloats)
        for (const Layout& layout : kLayouts) {
          const DeviceTensor target(to, {rows, columns}, Values(static_cast<size_t>(rows * columns)), layout);
          cuda::dequantise(context, source, target);
          if (!CHECK(sameBits(target.get(), valuesOf(type, blocks, to))))
            std::fprintf(stderr, "  %s to %s\n", traitsOf(type).name, traitsOf(to).name);
        }
    }
}

void unpacksOtherRanks(cuda::Context& context) {
  const DType type = DType::q4_0;
  const std::vector<uint8_t> blocks = randomBlocks(type, 24, 2);
  const DeviceBytes memory(blocks);
  const Values expected = valuesOf(type, blocks, DType::f32);
  for (const auto& shape : {std::vector<int64_t>{768}, {2, 3, 128}, {2, 3, 2, 64}, {1, 24, 32}})
    for (const Layout& layout : kLayouts) {
      TensorDesc source{memory.data, type, static_cast<int32_t>(shape.size()), {}, {}};
      int64_t stride = 1;
      for (int32_t d = source.rank - 1; d >= 0; --d) {
        source.shape[d] = shape[static_cast<size_t>(d)], source.strides[d] = stride;
        stride *= source.shape[d];
      }
      const DeviceTensor target(DType::f32, shape, Values(768), layout);
      cuda::dequantise(context, source, target);
      CHECK(sameBits(target.get(), expected));
    }
}

void plainFloatsAreConverted(cuda::Context& context) {
  const Values values = normal(DType::bf16, 35, 3);
  const DeviceTensor source(DType::bf16, {5, 7}, values), target(DType::f32, {5, 7}, Values(35));
  cuda::dequantise(context, source, target);
  CHECK(sameBits(target.get(), values));
}

}  // namespace

int main() {
  TestContext test;
  unpacksRows(test.context);
  unpacksOtherRanks(test.context);
  plainFloatsAreConverted(test.context);
  return finish();
}
