// Copies and elementwise arithmetic.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

void fill(Out target, double value) {
  Check check("fill");
  check.tensor("target", target).that(!isQuantised(target.dtype()), "a plain dtype");
  check.enqueue(&Backend::fill, target, value);
}

void copy(In source, Out target, Factor scale) {
  Check check("copy");
  check.tensor("source", source).that(!isQuantised(source.dtype()), "a plain dtype (dequantise converts blocks)");
  check.tensor("target", target).sameShape(source);
  check.that(source.dtype() == target.dtype() || (isFloat(source.dtype()) && isFloat(target.dtype())),
             [&] { return std::string("a dtype that ") + traitsOf(source.dtype()).name + " converts to"; });
  check.enqueue(&Backend::copy, source, target, scale);
}

void add(In source, InOut target, Factor scale) {
  Check check("add");
  check.tensor("source", source).floats();
  check.tensor("target", target).sameShape(source).floats();
  check.enqueue(&Backend::add, source, target, scale);
}

void multiply(In a, In b, Out target, Factor scale, Flag accumulate) {
  Check check("multiply");
  check.tensor("a", a).rank(2).floats().rows();
  check.tensor("b", b).sameShape(a).dtype(DType::f32).rows();
  check.tensor("target", target).sameShape(a).dtype(DType::f32).rows();
  check.enqueue(&Backend::multiply, a, b, target, scale, accumulate);
}

void elementwise(Elementwise f, In a, Optional b, Out y, Flag accumulate) {
  Check check("elementwise");
  check.tensor("a", a).floats().dense();
  if (takesTwo(f) || b) {
    check.tensor("b", b).sameShape(a).dtype(a.dtype()).dense();
    check.that(takesTwo(f), "nothing");
  }
  check.tensor("y", y).sameShape(a).dtype(a.dtype()).dense();
  check.enqueue(&Backend::elementwise, f, a, b, y, accumulate);
}

void dequantise(Blocks source, Out target) {
  Check check("dequantise");
  check.tensor("source", source).that(isQuantised(source.dtype()) || isFloat(source.dtype()), "a float or block dtype");
  check.dense();
  check.tensor("target", target).sameShape(source).floats().rows();
  check.enqueue(&Backend::dequantise, source, target);
}

}  // namespace mora::operations
