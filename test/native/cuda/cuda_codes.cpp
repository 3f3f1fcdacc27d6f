// Small codes with scales on CUDA: values bit for bit, selected rows, and products in panels.
#include <memory>
#include <utility>

#include "cuda/kernels.h"
#include "cuda/products/products.h"
#include "cuda/runtime/devices.h"
#include "cuda_fixture.h"

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

/// A matrix of random codes in device memory, with its values.
struct Matrix {
  explicit Matrix(const Form& form) : form(form) {
    const CodeLayout& layout = form.layout;
    const int64_t last = layout.firstRow + form.rows, groups = layout.groupsOfRow();
    const int64_t count = layout.runsOn ? (last * layout.columns + layout.groupSize - 1) / layout.groupSize
                                        : (last + layout.rowsPerScale - 1) / layout.rowsPerScale * groups;
    const auto add = [&](TensorDesc& desc, DType type, std::vector<int64_t> shape, const Values& values) {
      memory.push_back(std::make_unique<DeviceTensor>(type, shape, values));
      desc = memory.back()->desc();
      return values;
    };
    const int64_t bytesOfRow = layout.columns * layout.bits / 8;
    const Values codes =
        add(device.codes, DType::u8, {form.rows, bytesOfRow}, integers(form.rows * bytesOfRow, 256, 1));
    const bool isNested = form.scales == DType::u8;
    const Values scales =
        add(device.scales, form.scales, {count}, isNested ? integers(count, 256, 2) : normal(form.scales, count, 2));
    Values table, zeros, groupOf, scaleTable, scaleScales;
    if (form.table) table = add(device.table, DType::f32, {1 << layout.bits}, normal(DType::f32, 1 << layout.bits, 3));
    if (form.zeros) zeros = add(device.zeros, DType::u8, {count}, integers(count, 1 << layout.bits, 4));
    if (form.groups) groupOf = add(device.groups, DType::i32, {layout.columns}, integers(layout.columns, groups, 5));
    if (isNested) {
      const int64_t outer = (count + layout.scalesPerScale - 1) / layout.scalesPerScale;
      scaleTable = add(device.scaleTable, DType::f32, {256}, normal(DType::f32, 256, 6));
      scaleScales = add(device.scaleScales, DType::f32, {outer}, normal(DType::f32, outer, 7));
    }
    device.layout = layout;
    for (int64_t row = 0; row < form.rows; ++row)
      for (int64_t column = 0; column < layout.columns; ++column) {
        const auto read = [](const Values& from, int64_t i) {
          return static_cast<float>(from[static_cast<size_t>(i)]);
        };
        const auto byte = static_cast<int>(read(codes, row * bytesOfRow + column * layout.bits / 8));
        const bool high = (column % 2 == 1) != (layout.highFirst != 0);
        const int code = layout.bits == 8 ? byte : high ? byte >> 4 : byte & 15;
        const int64_t group = form.groups ? static_cast<int64_t>(read(groupOf, column)) : column / layout.groupSize;
        const int64_t at = layout.scaleAt(row, column, group);
        float scale = read(scales, at);
        if (isNested) {
          const volatile float product =
              read(scaleScales, at / layout.scalesPerScale) * read(scaleTable, static_cast<int64_t>(scale));
          scale = product + layout.scaleOffset;
        }
        const float value = form.table ? read(table, code) : static_cast<float>(code);
        values.push_back(scale * (value - (form.zeros ? read(zeros, at) : layout.zero)));
      }
  }

  Form form;
  CodedMatrix device{};
  Values values;
  std::vector<std::unique_ptr<DeviceTensor>> memory;
};

void unpacks(cuda::Context& context) {
  for (const Form& form : forms()) {
    const Matrix matrix(form);
    const int64_t columns = form.layout.columns, count = form.rows + 2;
    const Values picked = integers(count, form.rows, 8);
    const DeviceTensor rows(DType::i32, {count}, picked);
    for (const DType type : kFloats)
      for (const Layout& layout : kLayouts) {
        const DeviceTensor target(type, {form.rows, columns}, Values(matrix.values.size()), layout);
        const DeviceTensor some(type, {count, columns}, Values(static_cast<size_t>(count * columns)), layout);
        cuda::unpackCodes(context, matrix.device, {}, target);
        cuda::unpackCodes(context, matrix.device, rows, some);
        Values expected, expectedSome;
        for (const double value : matrix.values) expected.push_back(rounded(type, value));
        for (const double row : picked) {
          const auto from = expected.begin() + static_cast<int64_t>(row) * columns;
          expectedSome.insert(expectedSome.end(), from, from + columns);
        }
        CHECK(target.get() == expected);
        CHECK(some.get() == expectedSome);
      }
  }
}

/// Products equal those with the unpacked values, for any panels.
void multiplies(cuda::Context& context) {
  // Some have more rows or columns than a panel: more than 256 of 32769 values.
  std::vector<Form> all = forms();
  all.push_back({300, layoutOf(32800, 4, 32800), DType::f16, false, true, false});
  all.push_back({32801, layoutOf(300, 4, 60), DType::f16, false, true, false});
  for (const Form& form : all) {
    const Matrix matrix(form);
    const int64_t columns = form.layout.columns, m = 2;
    const DeviceTensor values(DType::f32, {form.rows, columns}, matrix.values);
    for (const bool transpose : {false, true}) {
      const int64_t depth = transpose ? columns : form.rows, width = transpose ? form.rows : columns;
      const DeviceTensor a(DType::f32, {m, depth}, normal(DType::f32, m * depth, 9));
      const Values before = normal(DType::f32, m * width, 10);
      const DeviceTensor c(DType::f32, {m, width}, before), expected(DType::f32, {m, width}, before);
      cuda::matmulCodes(context, a, matrix.device, transpose, c, 0.5f, true);
      cuda::matmul(context, a, false, values, transpose, expected, 0.5f, true);
      CHECK(close("matmulCodes", DType::f32, c.get(), expected.get()));
    }
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
  unpacks(test.context);

  void* workspace = nullptr;
  succeed(cudaMalloc(&workspace, cuda::Products::kWorkspace));
  const cuda::CublasSession cublas = cuda::startCublas();
  cuda::Products products(cublas.table, cublas.handle, test.context.stream, workspace);
  test.context.products = &products;
  multiplies(test.context);
  multipliesBlocks(test.context);
  return finish();
}
