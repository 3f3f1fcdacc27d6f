// The classes that JavaScript holds: a device, a tensor view, a mapped file, recorded operations. See lib/native.ts.
#pragma once
#include <napi.h>

#include "addon/environment.h"
#include "core/mapped_file.h"
#include "core/tensor.h"

namespace mora::addon {

DType dtypeFromName(Napi::Env env, const Napi::Value& name);
std::vector<int64_t> integers(const Napi::Value& array, const char* what);

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
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
  void profile(Info info);

  Device* device_ = nullptr;
};

class TensorObject : public Napi::ObjectWrap<TensorObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Tensor tensor);
  /// The tensor of a wrapper; null and undefined give an absent one, anything else throws. A disposed one throws.
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
  Napi::Value read(Info info);
  void dispose(Info info);
  const Tensor& alive(Napi::Env env) const;

  Tensor tensor_;
  int64_t ownBytes_ = 0;
};

class FileObject : public Napi::ObjectWrap<FileObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, const std::string& path);
  static std::shared_ptr<MappedFile> unwrap(const Napi::Value& value);
  explicit FileObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo&) { file_.reset(); }
  const MappedFile& open(Napi::Env env) const;

  std::shared_ptr<MappedFile> file_;
};

class RecordingObject : public Napi::ObjectWrap<RecordingObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, Recording recording);
  explicit RecordingObject(const Napi::CallbackInfo& info);

 private:
  void replay(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo&) { recording_.clear(); }

  Recording recording_;
};

}  // namespace mora::addon
