// Ranks that JavaScript holds. See lib/native/addon.ts.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/objects.h"
#include "ranks/group.h"

namespace mora::addon {

/// connectMpi(libraries, limit): a promise of this process's ranks.
Napi::Value connectMpi(const Napi::CallbackInfo& info);
/// mpiVersion(libraries): what the first of them that is there says that it is. Throws where none is.
Napi::Value mpiVersion(const Napi::CallbackInfo& info);
/// ncclVersion(): of the NCCL that is there, with its path. Throws where none can be used.
Napi::Value ncclVersion(const Napi::CallbackInfo& info);
/// glooVersion(): of the gloo that is there. Throws where there is none.
Napi::Value glooVersion(const Napi::CallbackInfo& info);
/// openGloo(address, rank, size, patience): listens; what the others have to know, [size, n].
Napi::Value openGloo(const Napi::CallbackInfo& info);
/// connectGloo(addresses, limit): a promise of this process's ranks; what the others gave for this one, [size, n].
Napi::Value connectGloo(const Napi::CallbackInfo& info);
/// At the end of the process: says goodbye, or, with an exit code, ends the whole job.
void endRanks(int exitCode);

class RanksObject : public TaggedObject<RanksObject> {
 public:
  static constexpr napi_type_tag kTag{0x6d6f72612d72616e, 1};
  static constexpr const char* kWhat = "ranks";
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<ranks::Group> group);
  explicit RanksObject(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;
  Napi::Value rank(Info info) { return Napi::Number::New(info.Env(), group_->engine().rank()); }
  Napi::Value size(Info info) { return Napi::Number::New(info.Env(), group_->engine().size()); }
  Napi::Value library(Info info) { return Napi::String::New(info.Env(), group_->engine().library()); }
  Napi::Value sum(Info info);
  Napi::Value broadcast(Info info);
  Napi::Value gather(Info info);
  Napi::Value connectDevice(Info info);
  Napi::Value sumOnDevice(Info info);
  Napi::Value gatherInto(Info info);
  Napi::Value close(Info info);
  /// A promise of the result of what the group's thread does in its turn.
  Napi::Promise collective(Napi::Env env, ranks::Group::Task task, Completions::Result result,
                           const Napi::Value& kept = {});
  void abort(Info info) { group_->fail(info[0].ToString()); }

  std::shared_ptr<ranks::Group> group_;
};

}  // namespace mora::addon
