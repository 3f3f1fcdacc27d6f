// Products of few rows with weights in block formats, for every instruction set of this machine, against sums in double
// precision: the addon's own tests only use the best one.
#include "cpu/few_rows/few_rows.h"

#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/few_rows/block_matrices.h"
#include "cpu/stored/dequantise.h"

using namespace mora;
using namespace mora::cpu;

namespace {

/// Random codes, and scales between 1/512 and 1/8 of both signs.
std::vector<uint8_t> randomBlocks(DType type, int64_t count, std::mt19937& generator) {
  const int64_t size = traitsOf(type).blockBytes;
  std::vector<uint8_t> blocks(static_cast<size_t>(count * size));
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(generator());
  const auto setHalf = [&](int64_t at) {
    const auto bits = static_cast<uint16_t>(0x1800 + generator() % 0x1800 + (generator() & 0x8000));
    std::memcpy(&blocks[static_cast<size_t>(at)], &bits, sizeof bits);
  };
  for (int64_t at = 0; at < count * size; at += size) {
    switch (type) {
      case DType::mxfp4:
        blocks[static_cast<size_t>(at)] = static_cast<uint8_t>(118 + generator() % 6);
        break;
      case DType::q3_k:
      case DType::q6_k:
      case DType::tq1_0:
      case DType::tq2_0:
        setHalf(at + size - 2);
        break;
      case DType::q2_k:
        setHalf(at + size - 4);
        setHalf(at + size - 2);
        break;
      default:
        setHalf(at);
        if (type == DType::q4_1 || type == DType::q5_1 || type == DType::q4_k || type == DType::q5_k) setHalf(at + 2);
    }
  }
  return blocks;
}

/// The largest error of a product, relative to the bound of few_rows.h.
double errorOf(decltype(&multiplyBlockMatrices) multiply, DType type, int64_t rows, int64_t outputs, int64_t blocks,
               unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  const int64_t depth = blocks * traitsOf(type).blockSize;
  const std::vector<uint8_t> bytes = randomBlocks(type, outputs * blocks, generator);
  std::vector<float> weight(static_cast<size_t>(outputs * depth)), a(static_cast<size_t>(rows * depth)),
      c(static_cast<size_t>(rows * outputs));
  dequantiseRow(type, bytes.data(), outputs * depth, DType::f32, weight.data());
  for (size_t i = 0; i < a.size(); ++i) a[i] = normal(generator) * (i / 32 % 3 == 0 ? 30.0f : 1.0f);
  const TensorDesc stored{const_cast<uint8_t*>(bytes.data()), type, 2, {outputs, depth}, {depth, 1}};
  multiply({a.data(), DType::f32, 2, {rows, depth}, {depth, 1}}, stored,
           {c.data(), DType::f32, 2, {rows, outputs}, {outputs, 1}}, 1, false);
  double worst = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t output = 0; output < outputs; ++output) {
      double sum = 0, allowed = 0;
      for (int64_t group = 0; group < depth; group += 32) {
        double largest = 0, sizes = 0;
        for (int64_t i = group; i < group + 32; ++i) {
          const double x = a[static_cast<size_t>(row * depth + i)], w = weight[static_cast<size_t>(output * depth + i)];
          sum += x * w;
          largest = std::max(largest, std::abs(x));
          sizes += std::abs(w);
          allowed += 4e-6 * std::abs(x * w);
        }
        allowed += largest / 65278 * 1.01 * sizes;
      }
      worst = std::max(worst, std::abs(c[static_cast<size_t>(row * outputs + output)] - sum) / allowed);
    }
  }
  return worst;
}

/// A matrix of `rows` rows, without values.
TensorDesc rowsOf(int64_t rows) { return {nullptr, DType::f32, 2, {rows, 1}, {1, 1}}; }

}  // namespace

int main() {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    for (const DType type :
         {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q2_k, DType::q3_k, DType::q4_k,
          DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::mxfp4, DType::tq1_0, DType::tq2_0}) {
      for (int64_t rows = 1; rows <= kMostFewRows; ++rows) {
        for (const int64_t blocks : {1, 2, 3, 4, 5, 18}) {
          const auto check = [&](decltype(&multiplyBlockMatrices) multiply, int64_t outputs, const char* name) {
            const double error =
                errorOf(multiply, type, rows, outputs, blocks, static_cast<unsigned>(rows * 100 + blocks));
            if (!CHECK(error < 1))
              std::fprintf(stderr, "%s, %s, %s, %d rows, %d blocks: %g\n", name, hwy::TargetName(target),
                           traitsOf(type).name, static_cast<int>(rows), static_cast<int>(blocks), error);
          };
          check(multiplyFewRows, 5, "few rows");
          if (prefersBlockMatrices(rowsOf(rows), rowsOf(1), rowsOf(rows))) check(multiplyBlockMatrices, 21, "matrices");
        }
      }
    }
  }
  return test::finish();
}
