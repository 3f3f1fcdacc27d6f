// Rows and columns selected by index on CUDA, in every float type and layout, and invalid indices.
#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Size {
  int64_t count, limit, columns;
};
const Size kSizes[] = {{1, 1, 1}, {7, 5, 3}, {40, 11, 64}, {300, 2, 24}, {600, 400, 8}, {0, 5, 8}, {5, 5, 0}};

void isAlike(cuda::Context& context, Size size) {
  const auto [count, limit, columns] = size;
  const Operand table = reads({limit, columns}, 1), picked = output({count, columns});
  const Operand ids = fixed(DType::i32, {count}, integers(count, limit, 2));
  const auto gather = [&](const Views& t) { cuda::gatherRows(context, t[0], t[1], t[2]); };
  const auto embed = [&](const Views& t) { cuda::embedding(context, t[0], t[1], t[2]); };
  const auto gathered = expectAlike("gatherRows", {table, ids, picked}, gather, kExact);
  const auto embedded = expectAlike("embedding", {table.ofOtherType(), ids, picked}, embed, kExact);
  CHECK(embedded[2] == gathered[2]);
  expectAlike(
      "embeddingBackward", {reads({count, columns}, 5), ids, changes({limit, columns}, 7).as(DType::f32)},
      [&](const Views& t) { cuda::embeddingBackward(context, t[0], t[1], t[2]); }, kExact);
  for (const bool accumulate : {false, true})
    expectAlike(
        "gatherColumns", {reads({columns, limit}, 11), ids, outputOr(accumulate, {columns, count}, 13)},
        [&](const Views& t) { cuda::gatherColumns(context, t[0], t[1], t[2], accumulate); }, kExact);
}

// Rows of q8_0: blocks of an f16 scale and 32 signed bytes, 34 bytes that are only aligned to 2.
void gathersBlocks(cuda::Context& context) {
  const int64_t limit = 7, columns = 96, blocks = limit * columns / 32, count = 9;
  Values bytes;
  for (const double code : integers(blocks * 32, 256, 9)) {
    if (bytes.size() % 34 == 0) bytes.insert(bytes.end(), {0, 0x34});  // 0.25
    bytes.push_back(code);
  }
  const Operand memory = fixed(DType::u8, {blocks * 34}, bytes);
  const Operand ids = fixed(DType::i32, {count}, integers(count, limit, 10));
  expectAlike(
      "embedding of blocks", {memory, ids, output({count, columns})},
      [&](const Views& t) {
        cuda::embedding(context, {t[0].data, DType::q8_0, 2, {limit, columns}, {columns, 1}}, t[1], t[2]);
      },
      kExact);
}

void scatters(cuda::Context& context) {
  const Operand at = fixed(DType::i32, {6}, {8, 0, 3, 4, 1, 7});
  expectAlike(
      "scatterRows", {reads({6, 24}, 3), at, changes({9, 24}, 4)},
      [&](const Views& t) { cuda::scatterRows(context, t[0], t[1], t[2]); }, kExact);
}

// Sums run over tokens in order, in f32: the same bits as this loop.
void addsGradientsInOrder(cuda::Context& context, Size size) {
  const auto [count, limit, columns] = size;
  const Values dY = normal(DType::f32, count * columns, 5), ids = integers(count, limit, 6);
  Values expected = normal(DType::f32, limit * columns, 7);
  const DeviceTensor deviceDY(DType::f32, {count, columns}, dY), deviceIds(DType::i32, {count}, ids);
  const DeviceTensor dTable(DType::f32, {limit, columns}, expected);
  for (size_t i = 0; i < dY.size(); ++i) {
    const auto row = static_cast<int64_t>(ids[i / static_cast<size_t>(columns)]);
    double& sum = expected[static_cast<size_t>(row * columns) + i % static_cast<size_t>(columns)];
    sum = static_cast<float>(sum + dY[i]);
  }
  cuda::embeddingBackward(context, deviceDY, deviceIds, dTable);
  CHECK(dTable.get() == expected);
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
  for (const Size size : kSizes) {
    isAlike(test.context, size);
    addsGradientsInOrder(test.context, size);
  }
  gathersBlocks(test.context);
  scatters(test.context);
  reportsIndices(test);
  return finish();
}
