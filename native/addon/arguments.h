// Turns a checked operation of the core into a JavaScript function: arguments are converted by their C++ types.
#pragma once
#include <cmath>
#include <utility>

#include "addon/objects.h"
#include "core/operations.h"

namespace mora::addon {

template <typename T>
struct Argument;

template <>
struct Argument<Tensor> {
  static Tensor from(const Napi::Value& value) { return TensorObject::unwrap(value); }
};
template <>
struct Argument<bool> {
  static bool from(const Napi::Value& value) { return value.ToBoolean(); }
};
template <>
struct Argument<double> {
  static double from(const Napi::Value& value) {
    if (!value.IsNumber()) throw toJavaScript(value.Env(), "invalid-argument", "Expected a number as an argument.");
    return value.As<Napi::Number>().DoubleValue();
  }
};
template <>
struct Argument<std::vector<Tensor>> {
  static std::vector<Tensor> from(const Napi::Value& value) {
    if (!value.IsArray()) throw toJavaScript(value.Env(), "invalid-argument", "Expected an array of tensors.");
    const Napi::Array array = value.As<Napi::Array>();
    std::vector<Tensor> tensors(lengthOf(array, 1 << 20, "a list of tensors"));
    for (uint32_t i = 0; i < tensors.size(); ++i) tensors[i] = TensorObject::unwrap(array.Get(i));
    return tensors;
  }
};

/// A field of an options object.
class Fields {
 public:
  explicit Fields(const Napi::Value& value) : env_(value.Env()) {
    if (!value.IsObject()) throw toJavaScript(env_, "invalid-argument", "Expected an object as an argument.");
    object_ = value.As<Napi::Object>();
  }
  double number(const char* name) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsNumber())
      throw toJavaScript(env_, "invalid-argument", std::string("Expected a number for ") + name + ".");
    return value.As<Napi::Number>().DoubleValue();
  }
  int64_t integer(const char* name) const { return addon::integer(env_, number(name), name); }
  float real(const char* name) const { return static_cast<float>(number(name)); }
  int32_t flag(const char* name) const { return object_.Get(name).ToBoolean() ? 1 : 0; }
  Napi::Value value(const char* name) const { return object_.Get(name); }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

template <>
struct Argument<Activation> {
  static Activation from(const Napi::Value& value) {
    const std::string name = value.ToString().Utf8Value();
    if (name == "silu") return Activation::silu;
    if (name == "gelu") return Activation::gelu;
    if (name == "geluTanh") return Activation::geluTanh;
    if (name == "relu") return Activation::relu;
    throw toJavaScript(value.Env(), "invalid-argument",
                       "Expected silu, gelu, geluTanh or relu for an activation but received " + name + ".");
  }
};
template <>
struct Argument<AttentionScoring> {
  static AttentionScoring from(const Napi::Value& value) {
    const Fields fields(value);
    return {fields.real("scale"), fields.real("softcap"), fields.integer("window")};
  }
};
template <>
struct Argument<Grouping> {
  static Grouping from(const Napi::Value& value) {
    const Fields fields(value);
    const bool runs = fields.value("kind").ToString().Utf8Value() == "runs";
    return {runs ? GroupKind::runs : GroupKind::tile, fields.flag("wrap"), fields.integer("width"),
            fields.integer("side")};
  }
};
template <>
struct Argument<BlockPlan> {
  static BlockPlan from(const Napi::Value& value) {
    const Fields fields(value);
    return {fields.integer("inFeatures"), fields.integer("outFeatures"), fields.integer("side"),
            fields.flag("rotate"),        fields.flag("truncate"),       fields.flag("foldOutput")};
  }
};
template <>
struct Argument<DropoutKey> {
  static DropoutKey from(const Napi::Value& value) {
    const Fields fields(value);
    const std::vector<int64_t> key = integers(fields.value("key"), "key");
    if (key.size() != 2) throw toJavaScript(value.Env(), "invalid-argument", "Expected two integers for key.");
    return {{static_cast<uint32_t>(key[0]), static_cast<uint32_t>(key[1])}, fields.real("probability")};
  }
};
template <>
struct Argument<Sampling> {
  static Sampling from(const Napi::Value& value) {
    const Fields fields(value);
    return {fields.number("temperature"), fields.integer("topK"), fields.number("topP")};
  }
};
template <>
struct Argument<AdamWStep> {
  static AdamWStep from(const Napi::Value& value) {
    const Fields fields(value);
    const double beta1 = fields.number("beta1"), beta2 = fields.number("beta2"), step = fields.number("step");
    return {fields.number("learningRate"),
            beta1,
            beta2,
            fields.number("epsilon"),
            fields.number("weightDecay"),
            1 - std::pow(beta1, step),
            1 - std::pow(beta2, step)};
  }
};

template <auto operation>
struct Exposed;
template <typename... Args, void (*operation)(Args...)>
struct Exposed<operation> {
  static void call(const Napi::CallbackInfo& info) { expand(info, std::index_sequence_for<Args...>{}); }

 private:
  template <size_t... I>
  static void expand(const Napi::CallbackInfo& info, std::index_sequence<I...>) {
    guarded(info.Env(), [&] {
      std::tuple<std::decay_t<Args>...> arguments{Argument<std::decay_t<Args>>::from(info[I])...};
      std::apply(operation, arguments);
      if (Recording* const recording = Environment::of(info.Env()).recording)
        recording->push_back([arguments = std::move(arguments)] { std::apply(operation, arguments); });
    });
  }
};

}  // namespace mora::addon
