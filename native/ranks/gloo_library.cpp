#include "ranks/gloo_library.h"

#include <dlfcn.h>

#include <filesystem>

#include "core/own_folder.h"
#include "ranks/surroundings.h"

namespace mora::ranks {
namespace {

struct Opened {
  GlooEntry* entry = nullptr;
  Absence absence = {};
};

Opened open() {
  const std::filesystem::path library = folderOfThisLibrary() / "mora_gloo.so";
  const std::string build = "run \"npm run build:native\"";
  std::error_code ignored;
  if (!std::filesystem::exists(library, ignored))
    return {nullptr, {"node-mora was built without gloo", "install libgloo-dev (Debian, Ubuntu), then " + build}};
  leaveProcessAlone();
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return {nullptr, {std::string("gloo could not be opened: ") + dlerror(), "install libgloo-dev, then " + build}};
  const auto entry = reinterpret_cast<GlooEntry*>(dlsym(handle, "moraGlooRank"));
  if (!entry) return {nullptr, {library.string() + " has no moraGlooRank", build}};
  return {entry};
}

const Opened& opened() {
  static const Opened instance = open();
  return instance;
}

}  // namespace

Absence whyNoGloo() { return opened().absence; }

std::unique_ptr<GlooRank> openGloo(const std::string& address, int rank, int size, std::chrono::milliseconds patience) {
  const auto& [entry, absence] = opened();
  if (!entry)
    throw Error("no-gloo", "These ranks meet over TCP, which takes gloo: " + absence.text() + ".", absence.remedy);
  return std::unique_ptr<GlooRank>(entry(address.c_str(), rank, size, patience));
}

}  // namespace mora::ranks
