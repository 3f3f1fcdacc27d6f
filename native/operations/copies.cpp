// Copies and elementwise arithmetic.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void fill(const Tensor& target, double value) {
  Check check("fill");
  check.tensor("target", target).that(!isQuantised(target.dtype()), "a plain dtype");
  MORA_ENQUEUE(check, fill, target.desc(), value);
}

void copy(const Tensor& source, const Tensor& target, double scale) {
  Check check("copy");
  check.tensor("source", source).that(!isQuantised(source.dtype()), "a plain dtype (dequantise converts blocks)");
  check.tensor("target", target).sameShape(source);
  check.that(source.dtype() == target.dtype() || (isFloat(source.dtype()) && isFloat(target.dtype())),
             [&] { return std::string("a dtype that ") + traitsOf(source.dtype()).name + " converts to"; });
  MORA_ENQUEUE(check, copy, source.desc(), target.desc(), static_cast<float>(scale));
}

void add(const Tensor& source, const Tensor& target, double scale) {
  Check check("add");
  check.tensor("source", source).floats();
  check.tensor("target", target).sameShape(source).floats();
  MORA_ENQUEUE(check, add, source.desc(), target.desc(), static_cast<float>(scale));
}

void multiply(const Tensor& a, const Tensor& b, const Tensor& target, double scale, bool accumulate) {
  Check check("multiply");
  check.tensor("a", a).rank(2).floats().rows();
  check.tensor("b", b).sameShape(a).dtype(DType::f32).rows();
  check.tensor("target", target).sameShape(a).dtype(DType::f32).rows();
  MORA_ENQUEUE(check, multiply, a.desc(), b.desc(), target.desc(), static_cast<float>(scale), accumulate);
}

void elementwise(Elementwise f, const Tensor& a, const Tensor& b, const Tensor& y, bool accumulate) {
  Check check("elementwise");
  check.tensor("a", a).floats().dense();
  if (takesTwo(f) || b) {
    check.tensor("b", b).sameShape(a).dtype(a.dtype()).dense();
    check.that(takesTwo(f), "nothing");
  }
  check.tensor("y", y).sameShape(a).dtype(a.dtype()).dense();
  MORA_ENQUEUE(check, elementwise, f, a.desc(), optional(b), y.desc(), accumulate);
}

void dequantise(const Tensor& source, const Tensor& target) {
  Check check("dequantise");
  check.tensor("source", source).that(isQuantised(source.dtype()) || isFloat(source.dtype()), "a float or block dtype");
  check.dense();
  check.tensor("target", target).sameShape(source).floats().rows();
  MORA_ENQUEUE(check, dequantise, source.desc(), target.desc());
}

}  // namespace mora::operations
