// Plans of the section operators, and tests of their results on the device against their definition in float64: x is
// continued by itself and cut into sections, each is multiplied by M R_b, and results are concatenated, then tiled or
// cut at d (or folded onto the first outputs). Folded matrices are [n, W, W], where W is R or the side of a window
// (mora/windows.h).
#pragma once
#include <algorithm>

#include "cuda/kernels.h"
#include "cuda_fixture.h"
#include "mora/windows.h"

namespace mora::test {

enum class Kind { rotate, decouple, truncate, fold };

inline SectionPlan planOf(int64_t k, int64_t d, int64_t side, Kind kind) {
  return {k, d, side, kind == Kind::rotate || kind == Kind::fold, kind == Kind::truncate, kind == Kind::fold};
}

inline std::string describe(const SectionPlan& plan) {
  return std::to_string(plan.inFeatures) + " to " + std::to_string(plan.outFeatures) + ", side " +
         std::to_string(plan.side) +
         (plan.truncate     ? ", truncation"
          : plan.foldOutput ? ", folded rotation"
          : plan.rotate     ? ", rotation"
                            : ", decoupling");
}

/// Calls visit(output, input, index in the folded sections) for every term of y = delta W x.
template <typename Visit>
void forTerms(const SectionPlan& plan, Visit&& visit) {
  const int64_t k = plan.inFeatures, d = plan.outFeatures, R = plan.side, whole = plan.sections() * R;
  const auto visitPosition = [&](int64_t output, int64_t position) {
    for (int64_t column = 0; column < R; ++column) {
      const int64_t input = position / R * R + column;
      if (!plan.truncate || input < k) visit(output, input % k, static_cast<size_t>(position * R + column));
    }
  };
  if (plan.foldOutput && whole > d) {
    for (int64_t position = 0; position < whole; ++position) visitPosition(position % d, position);
  } else {
    for (int64_t output = 0; output < (plan.truncate ? std::min(R, d) : d); ++output)
      visitPosition(output, output % whole);
  }
}

/// Calls visit(section, row, j, j + R/2, cosine, sine) for every pair of the folded sections.
template <typename Visit>
void forPairs(const SectionPlan& plan, Visit&& visit) {
  const int64_t R = plan.side, half = R / 2;
  for (int64_t b = 0; b < plan.liveSections(); ++b)
    for (int64_t i = 0; i < R; ++i)
      for (int64_t j = 0; j < half; ++j) {
        const double angle =
            static_cast<double>(b) * std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(R));
        visit(static_cast<size_t>(b * R * R), static_cast<size_t>(i * R + j), static_cast<size_t>(i * R + j + half),
              std::cos(angle), std::sin(angle));
      }
}

/// The index in [n, W, W] of an element of sections [n, R, R].
inline size_t placeOf(const SectionPlan& plan, int64_t window, size_t index) {
  const auto R = plan.side, at = static_cast<int64_t>(index), section = at / (R * R);
  const int64_t offset = windowOffset(R, window, section);
  return static_cast<size_t>((section * window + offset + at / R % R) * window + offset + at % R);
}

/// Sections [n, R, R] as [n, W, W], filled up with `around`.
inline Values placed(const SectionPlan& plan, int64_t window, const Values& sections, double around) {
  Values values(static_cast<size_t>(plan.liveSections() * window * window), around);
  for (size_t i = 0; i < sections.size(); ++i) values[placeOf(plan, window, i)] = sections[i];
  return values;
}

/// Extracts sections [n, R, R] from [n, W, W].
inline Values taken(const SectionPlan& plan, int64_t window, const Values& values) {
  Values sections(static_cast<size_t>(plan.liveSections() * plan.side * plan.side));
  for (size_t i = 0; i < sections.size(); ++i) sections[i] = values[placeOf(plan, window, i)];
  return sections;
}

inline void folds(cuda::Context& context, const SectionPlan& plan, int64_t window) {
  const int64_t R = plan.side, n = plan.liveSections();
  const Values matrix = normal(DType::f32, R * R, 1);
  const DeviceTensor from(DType::f32, {R, R}, matrix);
  for (const DType type : kFloats) {
    Values expected;
    for (int64_t b = 0; b < n; ++b) expected.insert(expected.end(), matrix.begin(), matrix.end());
    if (plan.rotate)
      forPairs(plan, [&](size_t section, size_t low, size_t high, double cosine, double sine) {
        expected[section + low] = matrix[low] * cosine + matrix[high] * sine;
        expected[section + high] = matrix[high] * cosine - matrix[low] * sine;
      });
    expected = placed(plan, window, expected, 0);
    const DeviceTensor folded(type, {n, window, window}, Values(expected.size(), NAN));
    cuda::foldSections(context, plan, from, folded);
    CHECK(close("foldSections, " + describe(plan), type, folded.get(), expected));
  }
}

inline void unfolds(cuda::Context& context, const SectionPlan& plan, int64_t window, bool accumulate) {
  const int64_t R = plan.side, n = plan.liveSections();
  const Values gradient = normal(DType::f32, n * R * R, 2), before = normal(DType::f32, R * R, 3);
  Values expected = accumulate ? before : Values(before.size(), 0);
  const DeviceTensor from(DType::f32, {n, window, window}, placed(plan, window, gradient, NAN));
  const DeviceTensor dMatrix(DType::f32, {R, R}, accumulate ? before : Values(before.size(), NAN));
  if (plan.rotate)
    forPairs(plan, [&](size_t section, size_t low, size_t high, double cosine, double sine) {
      expected[low] += gradient[section + low] * cosine - gradient[section + high] * sine;
      expected[high] += gradient[section + high] * cosine + gradient[section + low] * sine;
    });
  else
    for (size_t i = 0; i < gradient.size(); ++i) expected[i % expected.size()] += gradient[i];
  cuda::unfoldSections(context, plan, from, dMatrix, accumulate);
  CHECK(close("unfoldSections, " + describe(plan), DType::f32, dMatrix.get(), expected, 3e-6));
}

struct Operands {
  DType type;
  int64_t tokens;
  bool accumulate;
  Layout layout;
};

/// Tolerance: intermediate results are rounded to the type, so results may be off by a few roundings.
inline double slackOf(DType type) { return type == DType::f32 ? 1e-5 : 0.02; }

inline void multiplies(cuda::Context& context, const SectionPlan& plan, int64_t window, const Operands& of) {
  const auto [type, T, accumulate, layout] = of;
  const int64_t k = plan.inFeatures, d = plan.outFeatures, n = plan.liveSections(), R = plan.side;
  const Values x = normal(type, T * k, 4), dY = normal(type, T * d, 5), folded = normal(type, n * R * R, 6);
  Values y = normal(type, T * d, 7), dX = normal(type, T * k, 8), dFolded(folded.size(), 0);
  const DeviceTensor toY(type, {T, d}, y, layout), toX(type, {T, k}, dX, layout);
  const Values windows = placed(plan, window, folded, 0);
  const DeviceTensor toFolded(DType::f32, {n, window, window}, Values(windows.size(), NAN));
  const DeviceTensor sections(type, {n, window, window}, windows);
  const DeviceTensor fromX(type, {T, k}, x, layout), fromY(type, {T, d}, dY, layout);
  if (!accumulate) {
    std::fill(y.begin(), y.end(), 0);
    std::fill(dX.begin(), dX.end(), 0);
  }
  for (int64_t t = 0; t < T; ++t)
    forTerms(plan, [&](int64_t output, int64_t input, size_t at) {
      const auto atY = static_cast<size_t>(t * d + output), atX = static_cast<size_t>(t * k + input);
      y[atY] += x[atX] * folded[at];
      dX[atX] += dY[atY] * folded[at];
      dFolded[at] += dY[atY] * x[atX];
    });
  cuda::sectionsForward(context, plan, fromX, sections, toY, accumulate);
  CHECK(close("sectionsForward, " + describe(plan), type, toY.get(), y, slackOf(type)));
  cuda::sectionsBackwardInput(context, plan, fromY, sections, toX, accumulate);
  CHECK(close("sectionsBackwardInput, " + describe(plan), type, toX.get(), dX, slackOf(type)));
  cuda::sectionsBackwardWeight(context, plan, fromX, fromY, toFolded);
  CHECK(close("sectionsBackwardWeight, " + describe(plan), DType::f32, taken(plan, window, toFolded.get()), dFolded,
              slackOf(type)));
}

}  // namespace mora::test
