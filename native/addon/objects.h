// The classes that JavaScript holds: device, tensor view, file, recorded operations. See lib/native/addon.ts.
#pragma once
#include <napi.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "addon/environment.h"
#include "core/process/input_file.h"
#include "core/tensor.h"

namespace mora::addon {

// Every number, list and buffer from JavaScript is converted by these functions. A conversion may run JavaScript, which
// may dispose of a tensor, close a file or detach a buffer, so C++ objects are unwrapped after all conversions.
DType dtypeFromName(Napi::Env env, const Napi::Value& name);
/// Throws if the number is no integer or above 2^53, where integers are not distinguishable.
int64_t integer(Napi::Env env, double number, const char* what);
int64_t integer(const Napi::Value& number, const char* what);
/// An integer of 32 bits; throws otherwise.
int32_t smallInteger(const Napi::Value& number, const char* what);
/// An integer of 0 or more; throws otherwise.
int64_t wholeNumber(const Napi::Value& number, const char* what);
std::vector<int64_t> integers(const Napi::Value& array, const char* what);
/// The length of an array; throws if above `most`, since a sparse array can have any length.
uint32_t lengthOf(const Napi::Array& array, uint32_t most, const char* what);

/// The bytes of a typed array. Valid until JavaScript runs again, which may detach, shrink or grow the buffer. Throws
/// if the array lies outside its buffer.
std::pair<std::byte*, size_t> bytesOf(const Napi::TypedArray& array);
/// The values of a Float32Array; valid until JavaScript runs again.
std::span<float> floatsOf(const Napi::Value& value, const char* what);

/// A class whose objects carry the type tag T::kTag; T::kWhat is its name in messages.
template <typename T>
class TaggedObject : public Napi::ObjectWrap<T> {
 public:
  using Napi::ObjectWrap<T>::ObjectWrap;
  /// Unwraps the receiver of a method or accessor, on which JavaScript may call it with any object; throws for other
  /// classes.
  static T* Unwrap(Napi::Object object) {
    if (object.CheckTypeTag(&T::kTag)) return Napi::ObjectWrap<T>::Unwrap(object);
    throw toJavaScript(object.Env(), "invalid-argument",
                       std::string("Expected ") + T::kWhat + " but received something else.");
  }
};

/// Only the addon makes objects of these classes: their constructors need an argument that only C++ can pass.
template <typename T>
T& fromExternal(const Napi::CallbackInfo& info, const char* maker) {
  if (!info[0].IsExternal())
    throw toJavaScript(info.Env(), "invalid-argument", std::string("These objects are made by ") + maker + ".");
  return *info[0].As<Napi::External<T>>().Data();
}

class DeviceObject : public TaggedObject<DeviceObject> {
 public:
  static constexpr napi_type_tag kTag{0x6d6f72612d646576, 1};
  static constexpr const char* kWhat = "a device";
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Device& device);
  static Device& unwrap(const Napi::Value& value);
  explicit DeviceObject(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value kind(Info info) { return Napi::String::New(info.Env(), device_->kind()); }
  Napi::Value index(Info info) { return Napi::Number::New(info.Env(), device_->index()); }
  Napi::Value facts(Info info);
  Napi::Value memory(Info info);
  Napi::Value queueDepth(Info info);
  Napi::Value synchronize(Info info);
  Napi::Value profileReport(Info info);
  void setMemoryLimit(Info info);
  void resetPeak(Info info);
  void trim(Info info);
  void setThreads(Info info);
  void setAllowTf32(Info info);
  void setRowsAlone(Info info);
  void profile(Info info);

  Device* device_ = nullptr;
};

class TensorObject : public TaggedObject<TensorObject> {
 public:
  static constexpr napi_type_tag kTag{0x6d6f72612d74656e, 1};
  static constexpr const char* kWhat = "a tensor";
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Tensor tensor);
  /// The tensor of a wrapper, absent for null and undefined. Throws for anything else and for a disposed tensor.
  static Tensor unwrap(const Napi::Value& value);
  explicit TensorObject(const Napi::CallbackInfo& info);
  ~TensorObject() override;

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value device(Info info);
  Napi::Value dtype(Info info);
  Napi::Value shape(Info info);
  Napi::Value strides(Info info);
  Napi::Value disposed(Info info) { return Napi::Boolean::New(info.Env(), !tensor_); }
  Napi::Value view(Info info);
  Napi::Value as(Info info);
  Napi::Value read(Info info);
  Napi::Value readAtOnce(Info info);
  void dispose(Info info);
  const Tensor& alive(Napi::Env env) const;

  Tensor tensor_;
  int64_t ownBytes_ = 0;
};

class FileObject : public TaggedObject<FileObject> {
 public:
  static constexpr napi_type_tag kTag{0x6d6f72612d66696c, 1};
  static constexpr const char* kWhat = "a file";
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, const std::string& path);
  static std::shared_ptr<InputFile> unwrap(const Napi::Value& value);
  explicit FileObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value firstNotFinite(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo&) { file_.reset(); }
  const InputFile& open(Napi::Env env) const;

  std::shared_ptr<InputFile> file_;
};

class RecordingObject : public TaggedObject<RecordingObject> {
 public:
  static constexpr napi_type_tag kTag{0x6d6f72612d726563, 1};
  static constexpr const char* kWhat = "a recording";
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Recording recording);
  explicit RecordingObject(const Napi::CallbackInfo& info);

 private:
  void replay(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo&) { recording_.clear(); }

  Recording recording_;
};

}  // namespace mora::addon
