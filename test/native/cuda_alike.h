// Runs launchers in every float type and layout, and compares their results with those in contiguous float32. Whether
// these are right is tested once, for all backends, by the cases of test/operations.
#pragma once
#include <memory>
#include <optional>
#include <utility>

#include "cuda_fixture.h"

namespace mora::test {

using Shape = std::vector<int64_t>;

/// A tensor of a launch, of the float type under test and in any layout unless it says otherwise.
struct Operand {
  Shape shape;
  Values values;
  bool written = false;
  std::optional<DType> type{};
  bool isOfOtherType = false;
  bool isDense = false;
  bool isOutput = false;  // its values do not matter

  /// The same of a fixed type.
  Operand as(DType fixed) const {
    Operand operand = *this;
    operand.type = fixed;
    return operand;
  }
  /// The same of a second float type, which takes every value beside the first.
  Operand ofOtherType() const {
    Operand operand = *this;
    operand.isOfOtherType = true;
    return operand;
  }
  /// The same in contiguous memory.
  Operand dense() const {
    Operand operand = *this;
    operand.isDense = true;
    return operand;
  }
  /// The same, which the launch overwrites.
  Operand overwritten() const {
    Operand operand = *this;
    operand.written = true;
    return operand;
  }
};

inline int64_t countOf(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return count;
}

/// Normal numbers that every float type holds exactly: multiples of 1/64 of at most 8 bits.
inline Values exact(int64_t count, unsigned seed, double deviation = 1) {
  Values values = normal(DType::f32, count, seed, deviation);
  for (double& value : values) value = rounded(DType::bf16, std::round(value * 64) / 64);
  return values;
}

inline Operand reads(const Shape& shape, unsigned seed, double deviation = 1) {
  return {shape, exact(countOf(shape), seed, deviation)};
}

/// An operand whose values are changed.
inline Operand changes(const Shape& shape, unsigned seed) { return reads(shape, seed).overwritten(); }

inline Operand output(const Shape& shape) {
  Operand operand = Operand{shape, Values(static_cast<size_t>(countOf(shape)))}.overwritten();
  operand.isOutput = true;
  return operand;
}

/// An output, or the operand that is added to.
inline Operand outputOr(bool accumulate, const Shape& shape, unsigned seed) {
  return accumulate ? changes(shape, seed) : output(shape);
}

/// A contiguous operand of a fixed type.
inline Operand fixed(DType type, const Shape& shape, const Values& values) {
  return Operand{shape, values}.as(type).dense();
}

/// Allowed difference beside one rounding of the type, as a share of the largest magnitude of the result, and of the
/// largest of all results. Without any, results are those in float32 after one rounding.
struct Slack {
  double f32, bf16, f16, ofAll = 0;

  Slack(double all) : f32(all), bf16(all), f16(all) {}
  Slack(double f32, double bf16, double f16, double ofAll = 0) : f32(f32), bf16(bf16), f16(f16), ofAll(ofAll) {}
  double of(DType type) const { return type == DType::bf16 ? bf16 : type == DType::f16 ? f16 : f32; }
};
inline const Slack kExact = 0;

inline bool same(const Values& a, const Values& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

enum class Layouts { all, inTurn };  // inTurn: one for each type

using Views = std::vector<TensorDesc>;

/// Checks that launch(tensors) gives the same in every type and layout, the same bits when it is repeated, and changes
/// nothing but what is written. Returns the values of all operands after a launch in contiguous float32.
template <typename Launch>
std::vector<Values> expectAlike(const std::string& what, const std::vector<Operand>& operands, Launch&& launch,
                                const Slack& slack = 1e-6, Layouts layouts = Layouts::all) {
  std::vector<DType> types;
  const auto run = [&](DType type, DType other, Layout layout, double outputBefore) {
    std::vector<std::unique_ptr<DeviceTensor>> device;
    Views tensors;
    types.clear();
    for (const Operand& operand : operands) {
      types.push_back(operand.type.value_or(operand.isOfOtherType ? other : type));
      const Layout own = operand.isDense ? kLayouts[0] : layout;
      const Values values = operand.isOutput ? Values(operand.values.size(), outputBefore) : operand.values;
      device.push_back(std::make_unique<DeviceTensor>(types.back(), operand.shape, values, own));
      tensors.push_back(*device.back());
    }
    launch(std::as_const(tensors));
    std::vector<Values> values;
    for (const auto& tensor : device) values.push_back(tensor->get());
    return values;
  };
  const std::vector<Values> expected = run(DType::f32, DType::f32, kLayouts[0], 0);
  const std::vector<Values> again = run(DType::f32, DType::f32, kLayouts[0], 7);
  double largest = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    CHECK(same(again[i], expected[i]));
    for (const double value : expected[i])
      if (operands[i].written && std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  const auto check = [&](DType type, DType other, Layout layout) {
    const std::vector<Values> results = run(type, other, layout, 7);
    for (size_t i = 0; i < operands.size(); ++i) {
      if (!operands[i].written) {
        CHECK(same(results[i], operands[i].values));
      } else if (slack.of(type) > 0) {
        CHECK(close(what, types[i], results[i], expected[i], slack.of(type), slack.ofAll * largest));
      } else {
        Values once = expected[i];
        for (double& value : once) value = rounded(types[i], value);
        if (!CHECK(same(results[i], once))) std::fprintf(stderr, "  %s in %s\n", what.c_str(), traitsOf(type).name);
      }
    }
  };
  const auto any = [&](auto&& holds) { return std::any_of(operands.begin(), operands.end(), holds); };
  const bool varies = any([](const Operand& operand) { return !operand.type && !operand.isOfOtherType; });
  const bool variesTwice = any([](const Operand& operand) { return operand.isOfOtherType; });
  static size_t turn = 0;
  for (const DType type : kFloats)
    for (const DType other : kFloats) {
      if ((type != DType::f32 && !varies) || (other != DType::f32 && !variesTwice)) continue;
      if (layouts == Layouts::inTurn)
        check(type, other, kLayouts[turn++ % std::size(kLayouts)]);
      else
        for (const Layout layout : kLayouts) check(type, other, layout);
    }
  return expected;
}

}  // namespace mora::test
