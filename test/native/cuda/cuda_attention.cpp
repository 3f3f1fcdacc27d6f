// Attention and its gradient on CUDA over documents, heads and head sizes, in every float type, and invalid offsets.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/runtime/device_report.h"
#include "cuda_alike.h"

namespace mora::test {
namespace {

struct Case {
  std::vector<std::pair<int64_t, int64_t>> documents;  // queries and keys of each
  int64_t heads, keyHeads, headSize;
  int64_t window = 0;
  double softcap = 0;

  int64_t queries() const { return total(&std::pair<int64_t, int64_t>::first); }
  int64_t keys() const { return total(&std::pair<int64_t, int64_t>::second); }
  double scale() const { return 1 / std::sqrt(static_cast<double>(headSize)); }
  AttentionScoring scoring() const { return {static_cast<float>(scale()), static_cast<float>(softcap), window}; }
  std::string name() const {
    std::string text;
    for (const auto& [queries, keys] : documents) text += std::to_string(queries) + "/" + std::to_string(keys) + " ";
    return text + "with " + std::to_string(heads) + "/" + std::to_string(keyHeads) + " heads of " +
           std::to_string(headSize) + ", window " + std::to_string(window) + ", softcap " + std::to_string(softcap);
  }
  Values offsets(int64_t std::pair<int64_t, int64_t>::*part) const {
    Values offsets{0};
    for (const auto& document : documents) offsets.push_back(offsets.back() + static_cast<double>(document.*part));
    return offsets;
  }

 private:
  int64_t total(int64_t std::pair<int64_t, int64_t>::*part) const { return static_cast<int64_t>(offsets(part).back()); }
};

std::vector<std::pair<int64_t, int64_t>> whole(const std::vector<int64_t>& lengths) {
  std::vector<std::pair<int64_t, int64_t>> documents;
  for (const int64_t length : lengths) documents.emplace_back(length, length);
  return documents;
}

enum Place : size_t { kQ, kK, kV, kDOut, kQueryOffsets, kKeyOffsets, kOut, kLse, kDQ, kDK, kDV };

/// The operands of both passes, in the order of Place.
std::vector<Operand> operandsOf(const Case& of) {
  const Shape queries{of.queries(), of.heads, of.headSize}, keys{of.keys(), of.keyHeads, of.headSize};
  const auto offsets = [&](int64_t std::pair<int64_t, int64_t>::*part) {
    return fixed(DType::i32, {static_cast<int64_t>(of.documents.size()) + 1}, of.offsets(part));
  };
  return {reads(queries, 1),
          reads(keys, 2),
          reads(keys, 3),
          reads(queries, 4),
          offsets(&std::pair<int64_t, int64_t>::first),
          offsets(&std::pair<int64_t, int64_t>::second),
          output(queries),
          output({of.heads, of.queries()}).as(DType::f32).dense(),
          output(queries),
          output(keys),
          output(keys)};
}

void forward(cuda::Context& context, const Case& of, const Views& t) {
  cuda::attention(context, t[kQ], t[kK], t[kV], t[kQueryOffsets], t[kKeyOffsets], of.scoring(), t[kOut], t[kLse], {});
}

void backward(cuda::Context& context, const Case& of, const Views& t) {
  cuda::attentionBackward(context, t[kDOut], t[kQ], t[kK], t[kV], t[kOut], t[kLse], t[kQueryOffsets], t[kKeyOffsets],
                          of.scoring(), t[kDQ], t[kDK], t[kDV]);
}

/// out and lse of the forward pass in contiguous float32.
std::pair<Values, Values> forwardIsAlike(const Case& of, int32_t multiprocessors = 4,
                                         Layouts layouts = Layouts::inTurn) {
  TestContext test;
  test.context.multiprocessors = multiprocessors;
  std::vector<Operand> operands = operandsOf(of);
  operands.resize(kLse + 1);
  // Weights are rounded to the type before they are multiplied with v.
  const auto made = expectAlike(
      "attention of " + of.name(), operands, [&](const Views& t) { forward(test.context, of, t); },
      {2e-6, 0x1p-8, 0x1p-11}, layouts);
  return {made[kOut], made[kLse]};
}

void backwardIsAlike(const Case& of) {
  TestContext test;
  const auto both = [&](const Views& t) {
    forward(test.context, of, t);
    backward(test.context, of, t);
  };
  // out, weights and their gradients are rounded to the type before products. If one key is seen, dQ and dK are
  // differences of equal numbers: only rounding errors remain.
  expectAlike("attentionBackward of " + of.name(), operandsOf(of), both, {1e-5, 0x1p-6, 0x1p-9, 0x1p-12},
              Layouts::inTurn);
}

/// Lengths around every tile's edge, at each compiled head size and some between.
const Case kWhole[] = {
    {whole({1}), 1, 1, 2},          {whole({2, 1, 17}), 3, 1, 10}, {whole({5, 0, 7}), 2, 2, 33},
    {whole({63, 0, 65}), 3, 1, 64}, {whole({130, 64}), 4, 1, 64},  {whole({17, 65}), 3, 3, 80},
    {whole({64, 2}), 2, 2, 96},     {whole({130}), 3, 1, 128},     {whole({65, 1}), 2, 1, 256},
    {whole({33, 2}), 2, 1, 301},    {whole({35}), 1, 1, 512},
};

/// Windows shorter and longer than tiles, blocks and documents, and caps that change every score.
const Case kLimited[] = {
    {whole({5}), 1, 1, 4, 1, 0},
    {whole({17, 1, 40}), 3, 1, 10, 7, 2},
    {whole({63, 0, 165}), 2, 1, 64, 20, 0},
    {whole({190}), 2, 2, 64, 65, 1.5},
    {whole({70, 31}), 2, 1, 80, 0, 3},
    {whole({150}), 2, 1, 128, 33, 2},
    {whole({40, 3}), 1, 1, 256, 9, 2},
    {whole({34, 3}), 2, 1, 512, 19, 2},
    {{{33, 95}, {4, 4}}, 4, 1, 32, 30, 2},
    {{{9, 4}, {3, 0}, {70, 131}}, 2, 1, 16, 3, 0},
};

/// More keys than queries, and fewer: then the first queries see nothing.
const Case kUneven[] = {
    {{{5, 23}, {1, 9}, {0, 4}}, 3, 3, 7},
    {{{33, 95}, {4, 4}}, 4, 1, 64},
    {{{70, 131}}, 2, 2, 128},
    {{{9, 4}, {3, 0}, {2, 2}}, 2, 1, 16},
};

/// One query per document: the path that splits keys, into one part, a few, and the maximum.
const Case kDecode[] = {
    {{{1, 1023}}, 2, 1, 64},
    {{{1, 2049}, {1, 3}}, 5, 1, 33},
    {{{1, 4999}}, 1, 1, 16},
    {{{1, 1}}, 1, 1, 2},
    {{{1, 37}, {1, 600}}, 4, 4, 64},
    {{{1, 300}, {0, 5}, {1, 0}, {1, 65}}, 9, 3, 80},
    {{{1, 129}}, 6, 1, 128},
    {{{2, 77}, {0, 0}}, 3, 1, 256},
    {{{1, 77}, {1, 9}}, 3, 1, 301},
    {{{1, 77}}, 5, 1, 512},
    {{{1, 700}}, 4, 1, 10},
    {{{1, 700}}, 4, 1, 10, 5, 0},
    {{{1, 900}, {1, 30}}, 3, 1, 64, 333, 2},
    {{{1, 90}}, 2, 2, 32, 0, 1},
};

void lseMayBeAbsent() {
  TestContext test;
  for (const Case& of : {kWhole[1], kDecode[1]}) {
    std::vector<Operand> operands = operandsOf(of);
    operands.resize(kLse + 1);
    operands[kLse].written = operands[kLse].isOutput = false;
    const auto withoutLse = [&](const Views& t) {
      Views views = t;
      views[kLse].data = nullptr;
      forward(test.context, of, views);
    };
    const auto made = expectAlike("attention without lse", operands, withoutLse, {2e-6, 0x1p-8, 0x1p-11});
    CHECK(made[kOut] == forwardIsAlike(of).first);
  }
}

/// Offsets that do not match the tensors are reported, and nothing outside the tensors is read or written.
[[maybe_unused]] void reportsOffsets() {
  const Case shape{whole({40, 70, 23}), 2, 1, 16};
  const Case decode{{{1, 40}, {1, 70}, {1, 23}}, 2, 1, 16};
  struct Wrong {
    Values queries, keys;
    int64_t position, value, limit;
  };
  const auto reports = [](const Case& right, const Wrong& wrong, bool backwardToo) {
    TestContext test;
    std::vector<Operand> operands = operandsOf(right);
    operands[kQueryOffsets].values = wrong.queries;
    operands[kKeyOffsets].values = wrong.keys;
    std::vector<std::unique_ptr<DeviceTensor>> device;
    Views views;
    for (const Operand& operand : operands) {
      const DType type = operand.type.value_or(DType::f32);
      const Layout layout = kLayouts[operand.isDense ? 0 : 1];
      device.push_back(std::make_unique<DeviceTensor>(type, operand.shape, operand.values, layout));
      views.push_back(*device.back());
    }
    forward(test.context, right, views);
    const cuda::DeviceReport report = test.takeReport();
    CHECK(report.operation == static_cast<int32_t>(Operation::attention));
    CHECK(report.position == wrong.position && report.value == wrong.value && report.limit == wrong.limit);
    const StreamError error = cuda::errorOf(report);
    CHECK(error.status == Status::failed && std::string(error.operation) == "attention");
    CHECK(std::string(error.message).find("attention expected offsets") == 0);
    if (backwardToo) backward(test.context, right, views);
    for (const auto& tensor : device) tensor->get();
  };
  const Values right{0, 40, 110, 133};
  const double far = 2147483647;
  const Wrong wrongs[] = {
      {{0, 40, 110, 132}, right, 3, 132, 133},
      {{5, 40, 110, 133}, right, 0, 5, 133},
      {right, {-far, 40, 110, 133}, 0, -2147483647, 133},
      {right, {0, 40, 110, far}, 3, 2147483647, 133},
      {{0, -1, 110, 133}, right, 1, -1, 133},
      {right, {0, 40, 39, 133}, 2, 39, 133},
      {{far, far, far, 133}, right, 0, 2147483647, 133},
  };
  for (const Wrong& wrong : wrongs) reports(shape, wrong, true);
  reports(decode, {{0, 1, 2, 3}, {0, 40, 110, 134}, 3, 134, 133}, false);
  reports(decode, {{0, 1, 2, 2}, right, 3, 2, 3}, false);
}

}  // namespace
}  // namespace mora::test

int main() {
  using namespace mora::test;
  for (const Case& of : kWhole) backwardIsAlike(of);
  for (const Case& of : kUneven) backwardIsAlike(of);
  for (const Case& of : kLimited) backwardIsAlike(of);
  for (const Case& of : {Case{{}, 2, 1, 8}, Case{{{0, 3}}, 2, 1, 8}}) backwardIsAlike(of);
  for (const Case& of : kDecode) {
    const auto [out, lse] = forwardIsAlike(of, 4, Layouts::all);
    const auto [inParts, lseInParts] = forwardIsAlike(of, 132);  // the largest number of parts for these keys
    CHECK(close("out of many parts", mora::DType::f32, inParts, out, 2e-6));
    CHECK(close("lse of many parts", mora::DType::f32, lseInParts, lse, 2e-6));
  }
  lseMayBeAbsent();
#if !defined(__SANITIZE_THREAD__)
  // Wrong offsets make documents overlap: then blocks may write the same rows, which is no race of the kernels.
  reportsOffsets();
#endif
  return finish();
}
