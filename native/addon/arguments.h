// Turns a checked operation into a JavaScript function: converts arguments by their C++ types, with the names that
// core/operations.def declares.
#pragma once
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "addon/objects.h"
#include "core/operation_table.h"
#include "operations/operations.h"

namespace mora::addon {

/// An argument from JavaScript. `name` is the parameter's, for messages.
template <typename T>
T argumentFrom(const Napi::Value& value, const char* name);

template <>
inline Tensor argumentFrom(const Napi::Value& value, const char*) {
  return TensorObject::unwrap(value);
}
template <>
inline bool argumentFrom(const Napi::Value& value, const char*) {
  return value.ToBoolean();
}
template <>
inline double argumentFrom(const Napi::Value& value, const char* name) {
  if (!value.IsNumber())
    throw toJavaScript(value.Env(), "invalid-argument", std::string("Expected a number for ") + name + ".");
  return value.As<Napi::Number>().DoubleValue();
}
template <>
inline std::vector<Tensor> argumentFrom(const Napi::Value& value, const char* name) {
  if (!value.IsArray())
    throw toJavaScript(value.Env(), "invalid-argument", std::string("Expected an array of tensors for ") + name + ".");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<Tensor> tensors(lengthOf(array, 1 << 20, name));
  for (uint32_t i = 0; i < tensors.size(); ++i) tensors[i] = TensorObject::unwrap(array.Get(i));
  return tensors;
}

/// The fields of an object.
class Fields {
 public:
  Fields(const Napi::Value& value, const char* name) : env_(value.Env()) {
    if (!value.IsObject())
      throw toJavaScript(env_, "invalid-argument", std::string("Expected an object for ") + name + ".");
    object_ = value.As<Napi::Object>();
  }
  double number(const char* name) const { return argumentFrom<double>(object_.Get(name), name); }
  int64_t integer(const char* name) const { return addon::integer(env_, number(name), name); }
  float real(const char* name) const { return static_cast<float>(number(name)); }
  int32_t flag(const char* name) const { return object_.Get(name).ToBoolean() ? 1 : 0; }
  Napi::Value value(const char* name) const { return object_.Get(name); }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

/// The value whose name JavaScript gives. `what` is the kind of function, for messages.
template <typename Enum>
Enum functionNamed(const Napi::Value& value, const char* what,
                   std::initializer_list<std::pair<const char*, Enum>> all) {
  const std::string name = value.ToString().Utf8Value();
  std::string names;
  for (const auto& [known, function] : all) {
    if (name == known) return function;
    names += std::string(names.empty() ? "" : ", ") + known;
  }
  throw toJavaScript(value.Env(), "invalid-argument",
                     std::string("Expected one of ") + names + " for " + what + " but received " + name + ".");
}
template <>
inline Activation argumentFrom(const Napi::Value& value, const char*) {
  return functionNamed<Activation>(value, "an activation",
                                   {
#define MORA_ACTIVATION(name) {#name, Activation::name},
#include "core/operations.def"
                                   });
}
template <>
inline Elementwise argumentFrom(const Napi::Value& value, const char*) {
  return functionNamed<Elementwise>(value, "a function of elements",
                                    {
#define MORA_ELEMENTWISE(name, operands) {#name, Elementwise::name},
#include "core/operations.def"
                                    });
}
template <>
inline AttentionScoring argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  return {fields.real("scale"), fields.real("softcap"), fields.integer("window")};
}
template <>
inline operations::CodedTensors argumentFrom(const Napi::Value& value, const char* parameter) {
  const Fields fields(value, parameter);
  const auto tensor = [&](const char* name) { return TensorObject::unwrap(fields.value(name)); };
  const Fields layout(fields.value("layout"), "layout");
  return {
      tensor("codes"),
      tensor("table"),
      tensor("scales"),
      tensor("zeros"),
      tensor("groups"),
      tensor("scaleTable"),
      tensor("scaleScales"),
      {layout.integer("columns"), layout.integer("firstRow"), layout.integer("rowsPerScale"),
       layout.integer("groupSize"), layout.integer("scalesPerScale"), layout.real("scaleOffset"), layout.real("zero"),
       static_cast<int32_t>(layout.integer("bits")), layout.flag("highFirst"), layout.flag("runsOn")}};
}
template <>
inline Grouping argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  const bool runs = fields.value("kind").ToString().Utf8Value() == "runs";
  return {runs ? GroupKind::runs : GroupKind::tile, fields.flag("wrap"), fields.integer("width"),
          fields.integer("side")};
}
template <>
inline SectionPlan argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  return {fields.integer("inFeatures"), fields.integer("outFeatures"), fields.integer("side"),
          fields.flag("rotate"),        fields.flag("truncate"),       fields.flag("foldOutput")};
}
template <>
inline DropoutKey argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  const std::vector<int64_t> key = integers(fields.value("key"), "key");
  if (key.size() != 2) throw toJavaScript(value.Env(), "invalid-argument", "Expected two integers for key.");
  return {{static_cast<uint32_t>(key[0]), static_cast<uint32_t>(key[1])}, fields.real("probability")};
}
template <>
inline LogitsPart argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  return {fields.integer("first"), fields.real("softcap")};
}
template <>
inline AdamWStep argumentFrom(const Napi::Value& value, const char* name) {
  const Fields fields(value, name);
  const double beta1 = fields.number("beta1"), beta2 = fields.number("beta2"), step = fields.number("step");
  return {fields.number("learningRate"),
          beta1,
          beta2,
          fields.number("epsilon"),
          fields.number("weightDecay"),
          1 - std::pow(beta1, step),
          1 - std::pow(beta2, step)};
}

/// A parameter of an operation, as core/operations.def declares it.
struct Parameter {
  std::string kind, name;
};

/// The parameters that are declared as in "In x, Flag inverse".
inline std::vector<Parameter> parametersOf(std::string_view declared) {
  std::vector<Parameter> parameters;
  while (!declared.empty()) {
    const size_t comma = std::min(declared.find(','), declared.size());
    const std::string_view one = declared.substr(0, comma);
    const size_t space = one.find(' ');
    parameters.push_back({std::string(one.substr(0, space)), std::string(one.substr(space + 1))});
    declared.remove_prefix(std::min(declared.size(), comma + 2));
  }
  return parameters;
}

/// Whether JavaScript passes an operation's arguments by name, in one object, since positions would be unclear.
inline bool takesFields(const std::vector<Parameter>& parameters) {
  const auto isFlag = [](const Parameter& parameter) { return parameter.kind == "Flag"; };
  return parameters.size() > 5 || std::count_if(parameters.begin(), parameters.end(), isFlag) > 1;
}

template <auto operation, Operation id>
struct Exposed;
template <typename... Args, void (*operation)(Args...), Operation id>
struct Exposed<operation, id> {
  static void call(const Napi::CallbackInfo& info) { expand(info, std::index_sequence_for<Args...>{}); }

 private:
  static const std::vector<Parameter>& parameters() {
    static const auto* const all = new std::vector<Parameter>(parametersOf(entryOf(id).parameters));
    return *all;
  }

  static bool named() {
    static const bool known = takesFields(parameters());
    return known;
  }

  /// The argument of a parameter, or its default if JavaScript leaves it out.
  static Napi::Value argumentOf(const Napi::CallbackInfo& info, size_t index) {
    const Parameter& parameter = parameters()[index];
    const Napi::Value value = named() ? info[0].As<Napi::Object>().Get(parameter.name.c_str()) : info[index];
    return parameter.kind == "Factor" && value.IsUndefined() ? Napi::Number::New(info.Env(), 1) : value;
  }

  template <size_t... I>
  static void expand(const Napi::CallbackInfo& info, std::index_sequence<I...>) {
    guarded(info.Env(), [&] {
      if (named() && !info[0].IsObject())
        throw Error("invalid-argument",
                    std::string(nameOf(id)) + ": expected an object with a field for each argument.");
      std::tuple<std::decay_t<Args>...> arguments{
          argumentFrom<std::decay_t<Args>>(argumentOf(info, I), parameters()[I].name.c_str())...};
      std::apply(operation, arguments);
      if (Recording* const recording = Environment::of(info.Env()).recording)
        recording->push_back([arguments = std::move(arguments)] { std::apply(operation, arguments); });
    });
  }
};

}  // namespace mora::addon
