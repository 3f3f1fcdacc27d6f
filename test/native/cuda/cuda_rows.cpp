// Rows selected by index on CUDA, and invalid indices.
#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t count, limit, columns;
};
const Size kSizes[] = {{1, 1, 1}, {7, 5, 3}, {40, 11, 64}, {300, 2, 24}, {600, 400, 8}, {0, 5, 8}, {5, 5, 0}};

/// Values of row `row`, column by column.
void copyRow(const Values& from, int64_t row, Values& to, int64_t toRow, int64_t columns) {
  std::copy_n(from.begin() + row * columns, columns, to.begin() + toRow * columns);
}

void gathers(cuda::Context& context) {
  for (const DType tableType : kFloats)
    for (const DType type : kFloats)
      for (const auto [count, limit, columns] : kSizes)
        for (const Layout layout : kLayouts) {
          const Values table = normal(tableType, limit * columns, 1), ids = integers(count, limit, 2);
          const Values nothing(static_cast<size_t>(count * columns));
          const DeviceTensor deviceTable(tableType, {limit, columns}, table, layout),
              deviceIds(DType::i32, {count}, ids);
          const DeviceTensor y(type, {count, columns}, nothing, layout);
          Values expected = nothing;
          for (int64_t i = 0; i < count; ++i)
            copyRow(table, static_cast<int64_t>(ids[static_cast<size_t>(i)]), expected, i, columns);
          for (double& value : expected) value = rounded(type, value);
          cuda::embedding(context, deviceTable, deviceIds, y);
          CHECK(y.get() == expected);
          if (tableType != type) continue;
          y.set(nothing);
          cuda::gatherRows(context, deviceTable, deviceIds, y);
          CHECK(y.get() == expected);
        }
}

// Rows of q8_0: blocks of an f16 scale and 32 signed bytes, 34 bytes that are only aligned to 2.
void gathersBlocks(cuda::Context& context) {
  const int64_t limit = 7, columns = 96, blocks = limit * columns / 32, count = 9;
  const Values codes = integers(blocks * 32, 256, 9), ids = integers(count, limit, 10);
  Values bytes, table;
  for (int64_t block = 0; block < blocks; ++block) {
    bytes.insert(bytes.end(), {0, 0x34});  // 0.25
    for (int64_t i = block * 32; i < block * 32 + 32; ++i) {
      const double code = codes[static_cast<size_t>(i)];
      bytes.push_back(code);
      table.push_back((code < 128 ? code : code - 256) * 0.25);
    }
  }
  const DeviceTensor memory(DType::u8, {blocks * 34}, bytes), deviceIds(DType::i32, {count}, ids);
  const TensorDesc deviceTable{memory.desc().data, DType::q8_0, 2, {limit, columns}, {columns, 1}};
  for (const DType type : kFloats)
    for (const Layout layout : kLayouts) {
      const DeviceTensor y(type, {count, columns}, Values(static_cast<size_t>(count * columns)), layout);
      Values expected(static_cast<size_t>(count * columns));
      for (int64_t i = 0; i < count; ++i)
        copyRow(table, static_cast<int64_t>(ids[static_cast<size_t>(i)]), expected, i, columns);
      for (double& value : expected) value = rounded(type, value);
      cuda::embedding(context, deviceTable, deviceIds, y);
      CHECK(y.get() == expected);
    }
}

void scatters(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const Layout layout : kLayouts) {
      const int64_t count = 6, rows = 9, columns = 24;
      const Values at = {8, 0, 3, 4, 1, 7}, x = normal(type, count * columns, 3);
      const DeviceTensor deviceX(type, {count, columns}, x, layout), deviceAt(DType::i32, {count}, at);
      Values expected = normal(type, rows * columns, 4);
      const DeviceTensor y(type, {rows, columns}, expected, layout);
      for (int64_t i = 0; i < count; ++i)
        copyRow(x, i, expected, static_cast<int64_t>(at[static_cast<size_t>(i)]), columns);
      cuda::scatterRows(context, deviceX, deviceAt, y);
      CHECK(y.get() == expected);
    }
}

// Sums run over tokens in order, in f32: the same bits as this loop.
void addsGradientsInOrder(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const auto [count, limit, columns] : kSizes)
      for (const Layout layout : kLayouts) {
        const Values dY = normal(type, count * columns, 5), ids = integers(count, limit, 6);
        const Values before = normal(DType::f32, limit * columns, 7);
        const DeviceTensor deviceDY(type, {count, columns}, dY, layout), deviceIds(DType::i32, {count}, ids);
        const DeviceTensor dTable(DType::f32, {limit, columns}, before, layout);
        Values expected = before;
        for (int64_t i = 0; i < count; ++i)
          for (int64_t c = 0; c < columns; ++c) {
            const auto row = static_cast<int64_t>(ids[static_cast<size_t>(i)]);
            double& sum = expected[static_cast<size_t>(row * columns + c)];
            sum = static_cast<float>(sum + dY[static_cast<size_t>(i * columns + c)]);
          }
        cuda::embeddingBackward(context, deviceDY, deviceIds, dTable);
        CHECK(dTable.get() == expected);
      }
}

void gathersColumns(cuda::Context& context) {
  for (const DType type : kFloats)
    for (const auto [count, limit, rows] : kSizes)
      for (const Layout layout : kLayouts)
        for (const bool accumulate : {false, true}) {
          const Values x = normal(type, rows * limit, 11), at = integers(count, limit, 12);
          const Values before = normal(type, rows * count, 13);
          const DeviceTensor deviceX(type, {rows, limit}, x, layout), deviceAt(DType::i32, {count}, at);
          const DeviceTensor y(type, {rows, count}, before, layout);
          Values expected = before;
          for (int64_t t = 0; t < rows; ++t)
            for (int64_t c = 0; c < count; ++c) {
              double& value = expected[static_cast<size_t>(t * count + c)];
              const auto column = static_cast<int64_t>(at[static_cast<size_t>(c)]);
              value = rounded(type, (accumulate ? value : 0) + x[static_cast<size_t>(t * limit + column)]);
            }
          cuda::gatherColumns(context, deviceX, deviceAt, y, accumulate);
          CHECK(y.get() == expected);
        }
}

void reportsIndices(TestContext& test) {
  const Values table = normal(DType::f32, 5 * 8, 8), zeros(3 * 8);
  const DeviceTensor deviceTable(DType::f32, {5, 8}, table), y(DType::f32, {3, 8}, zeros);
  for (const double wrong : {-1.0, 5.0, 2147483647.0, -2147483648.0}) {
    const DeviceTensor ids(DType::i32, {3}, {4, wrong, 0}), grown(DType::f32, {5, 8}, table);
    const auto reports = [&](mora::Operation operation) {
      const cuda::DeviceReport report = test.takeReport();
      CHECK(report.operation == static_cast<int32_t>(operation));
      CHECK(report.position == 1 && report.value == static_cast<int64_t>(wrong) && report.limit == 5);
    };
    cuda::embedding(test.context, deviceTable, ids, y);
    reports(mora::Operation::embedding);
    cuda::gatherRows(test.context, deviceTable, ids, y);
    reports(mora::Operation::gatherRows);
    cuda::embeddingBackward(test.context, y, ids, grown);
    reports(mora::Operation::embeddingBackward);
    cuda::scatterRows(test.context, y, ids, grown);
    reports(mora::Operation::scatterRows);
    const DeviceTensor wide(DType::f32, {8, 5}, table), picked(DType::f32, {8, 3}, zeros);
    cuda::gatherColumns(test.context, wide, ids, picked, false);
    reports(mora::Operation::gatherColumns);
    const Values rows = y.get();
    CHECK(std::equal(rows.begin(), rows.begin() + 8, table.begin() + 4 * 8));
  }
  CHECK(test.takeReport().operation == 0);
}

}  // namespace

int main() {
  TestContext test;
  gathers(test.context);
  gathersBlocks(test.context);
  scatters(test.context);
  addsGradientsInOrder(test.context);
  gathersColumns(test.context);
  reportsIndices(test);
  return finish();
}
