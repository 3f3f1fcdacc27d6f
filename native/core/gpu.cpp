#include "core/gpu.h"

#include <memory>
#include <utility>

namespace mora {

const CudaExtras* cudaExtras();

namespace {

const CudaExtras* extrasOf(const Device& device) { return device.kind() == "cuda" ? cudaExtras() : nullptr; }

const CudaExtras& requireExtras(const Device& device, const char* operation) {
  const CudaExtras* const extras = extrasOf(device);
  if (!extras) device.check(Status::unsupported, operation);
  return *extras;
}

}  // namespace

std::string idOf(const Device& device) {
  char id[64] = "";
  if (const CudaExtras* const extras = extrasOf(device))
    device.check(extras->identify(device.index(), id, sizeof id), "identify");
  return id;
}

void beside(Device& device, std::function<void(void*)> issue, std::function<void(const StreamError&)> done) {
  struct Work {
    std::function<void(void*)> issue;
    std::function<void(const StreamError&)> done;
    std::string why;
  };
  const auto start = [](void* user, void* stream) -> const char* {
    auto& work = *static_cast<Work*>(user);
    try {
      work.issue(stream);
      return nullptr;
    } catch (const std::exception& failure) {
      work.why = failure.what();
      if (work.why.ends_with('.')) work.why.pop_back();
      return work.why.c_str();
    }
  };
  const auto end = [](void* user, const StreamError* error) {
    const std::unique_ptr<Work> work(static_cast<Work*>(user));
    work->done(*error);
  };
  const CudaExtras& extras = requireExtras(device, "beside");
  device.check(extras.beside(device.stream(), {start, end, new Work{std::move(issue), std::move(done), {}}}), "beside");
}

void join(Device& device) { device.check(requireExtras(device, "join").join(device.stream()), "join"); }

}  // namespace mora
