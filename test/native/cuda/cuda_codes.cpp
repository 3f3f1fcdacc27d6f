// Small codes with scales on CUDA: values in every float type and layout, selected rows, and products in panels.
#include "cuda/kernels.h"
#include "cuda/products/products.h"
#include "cuda/runtime/devices.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Form {
  int64_t rows;
  CodeLayout layout;
  DType scales;
  bool table, zeros, groups;
};

CodeLayout layoutOf(int64_t columns, int32_t bits, int64_t groupSize) {
  return {.columns = columns,
          .firstRow = 0,
          .rowsPerScale = 1,
          .groupSize = groupSize,
          .scalesPerScale = 1,
          .scaleOffset = 0,
          .zero = 0,
          .bits = bits,
          .highFirst = 0,
          .runsOn = 0};
}

std::vector<Form> forms() {
  Form runsOn{7, layoutOf(96, 4, 64), DType::f32, true, false, false};
  runsOn.layout.runsOn = runsOn.layout.highFirst = 1;
  runsOn.layout.firstRow = 2;
  Form nested{9, layoutOf(64, 4, 16), DType::u8, true, false, false};
  nested.layout.scalesPerScale = 7;
  nested.layout.scaleOffset = 0.375f;
  Form blocks{17, layoutOf(43, 8, 16), DType::bf16, true, false, false};
  blocks.layout.rowsPerScale = 5;
  Form whole{3, layoutOf(129, 8, 129), DType::f16, false, false, false};
  whole.layout.zero = 128;
  return {{13, layoutOf(96, 4, 32), DType::f16, false, true, false},
          {6, layoutOf(70, 4, 10), DType::bf16, false, true, true},
          {5, layoutOf(22, 4, 7), DType::f32, true, false, false},
          runsOn,
          nested,
          blocks,
          whole};
}

/// The parts of a matrix of random codes; absent ones have no elements.
std::vector<Operand> partsOf(const Form& form) {
  const CodeLayout& layout = form.layout;
  const int64_t last = layout.firstRow + form.rows, groups = layout.groupsOfRow(), most = 1 << layout.bits;
  const int64_t count = layout.runsOn ? (last * layout.columns + layout.groupSize - 1) / layout.groupSize
                                      : (last + layout.rowsPerScale - 1) / layout.rowsPerScale * groups;
  const int64_t bytesOfRow = layout.columns * layout.bits / 8;
  const bool isNested = form.scales == DType::u8;
  const auto part = [](bool isPresent, DType type, int64_t length, const auto& valuesOf) {
    return fixed(type, {isPresent ? length : 0}, isPresent ? valuesOf(length) : Values{});
  };
  const auto floats = [](unsigned seed) { return [=](int64_t length) { return normal(DType::f32, length, seed); }; };
  const auto below = [](int64_t limit, unsigned seed) {
    return [=](int64_t length) { return integers(length, limit, seed); };
  };
  return {fixed(DType::u8, {form.rows, bytesOfRow}, integers(form.rows * bytesOfRow, 256, 1)),
          fixed(form.scales, {count}, isNested ? integers(count, 256, 2) : normal(form.scales, count, 2)),
          part(form.table, DType::f32, most, floats(3)),
          part(form.zeros, DType::u8, count, below(most, 4)),
          part(form.groups, DType::i32, layout.columns, below(groups, 5)),
          part(isNested, DType::f32, 256, floats(6)),
          part(isNested, DType::f32, (count + layout.scalesPerScale - 1) / layout.scalesPerScale, floats(7))};
}

CodedMatrix matrixOf(const Form& form, const Views& t) {
  const auto present = [](const TensorDesc& tensor) { return tensor.shape[0] > 0 ? tensor : TensorDesc{}; };
  CodedMatrix matrix{};
  matrix.codes = t[0], matrix.scales = t[1];
  matrix.table = present(t[2]), matrix.zeros = present(t[3]), matrix.groups = present(t[4]);
  matrix.scaleTable = present(t[5]), matrix.scaleScales = present(t[6]);
  matrix.layout = form.layout;
  return matrix;
}

void unpacks(cuda::Context& context, const Form& form) {
  std::vector<Operand> all = partsOf(form), some = all;
  const int64_t columns = form.layout.columns, count = form.rows + 2;
  const Values rows = integers(count, form.rows, 8);
  all.push_back(output({form.rows, columns}));
  some.push_back(fixed(DType::i32, {count}, rows));
  some.push_back(output({count, columns}));
  const auto values = expectAlike(
      "unpackCodes", all, [&](const Views& t) { cuda::unpackCodes(context, matrixOf(form, t), {}, t[7]); }, kExact)[7];
  const auto picked = expectAlike(
      "unpackCodes of rows", some, [&](const Views& t) { cuda::unpackCodes(context, matrixOf(form, t), t[7], t[8]); },
      kExact)[8];
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(std::equal(picked.begin() + static_cast<int64_t>(i) * columns,
                     picked.begin() + static_cast<int64_t>(i + 1) * columns,
                     values.begin() + static_cast<int64_t>(rows[i]) * columns));
}

/// Products equal those with the unpacked values, for any panels.
void multiplies(cuda::Context& context, const Form& form) {
  std::vector<std::unique_ptr<DeviceTensor>> parts;
  Views views;
  for (const Operand& part : partsOf(form)) {
    parts.push_back(std::make_unique<DeviceTensor>(*part.type, part.shape, part.values));
    views.push_back(*parts.back());
  }
  const int64_t columns = form.layout.columns, m = 2;
  const DeviceTensor values(DType::f32, {form.rows, columns}, Values(static_cast<size_t>(form.rows * columns)));
  cuda::unpackCodes(context, matrixOf(form, views), {}, values);
  for (const bool transpose : {false, true}) {
    const int64_t depth = transpose ? columns : form.rows, width = transpose ? form.rows : columns;
    const DeviceTensor a(DType::f32, {m, depth}, normal(DType::f32, m * depth, 9));
    const Values before = normal(DType::f32, m * width, 10);
    const DeviceTensor c(DType::f32, {m, width}, before), expected(DType::f32, {m, width}, before);
    cuda::matmulCodes(context, a, matrixOf(form, views), transpose, c, 0.5f, true);
    cuda::matmul(context, a, false, values, transpose, expected, 0.5f, true);
    CHECK(close("matmulCodes", DType::f32, c.get(), expected.get()));
  }
}

/// Products with blocks of GGUF: q8_0.
void multipliesBlocks(cuda::Context& context) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{5, 64}, {32801, 288}}) {
    Values bytes;
    for (int64_t block = 0; block < rows * columns / 32; ++block) {
      bytes.insert(bytes.end(), {0, 0x34});  // 0.25
      for (int64_t i = 0; i < 32; ++i) bytes.push_back(static_cast<double>((block * 7 + i * 13) % 256));
    }
    const DeviceTensor memory(DType::u8, {rows * columns / 32 * 34}, bytes);
    const TensorDesc blocks{memory.desc().data, DType::q8_0, 2, {rows, columns}, {columns, 1}};
    const DeviceTensor values(DType::f32, {rows, columns}, Values(static_cast<size_t>(rows * columns)));
    cuda::dequantise(context, blocks, values);
    for (const bool transpose : {false, true}) {
      const int64_t depth = transpose ? columns : rows, width = transpose ? rows : columns;
      const DeviceTensor a(DType::f32, {2, depth}, normal(DType::f32, 2 * depth, 11));
      const Values before = normal(DType::f32, 2 * width, 12);
      const DeviceTensor c(DType::f32, {2, width}, before), expected(DType::f32, {2, width}, before);
      cuda::matmul(context, a, false, blocks, transpose, c, 1, false);
      cuda::matmul(context, a, false, values, transpose, expected, 1, false);
      CHECK(close("matmul of blocks", DType::f32, c.get(), expected.get()));
    }
  }
}

}  // namespace

int main() {
  TestContext test;
  std::vector<Form> all = forms();
  for (const Form& form : all) unpacks(test.context, form);

  void* workspace = nullptr;
  succeed(cudaMalloc(&workspace, cuda::Products::kWorkspace));
  const cuda::CublasSession cublas = cuda::startCublas();
  cuda::Products products(cublas.table, cublas.handle, test.context.stream, workspace);
  test.context.products = &products;
  // Some have more rows or columns than a panel: more than 256 of 32769 values.
  all.push_back({300, layoutOf(32800, 4, 32800), DType::f16, false, true, false});
  all.push_back({32801, layoutOf(300, 4, 60), DType::f16, false, true, false});
  for (const Form& form : all) multiplies(test.context, form);
  multipliesBlocks(test.context);
  return finish();
}
