#include "ranks/gloo_library.h"

#include <filesystem>

#include "core/system/libraries.h"
#include "ranks/surroundings.h"

namespace mora::ranks {
namespace {

struct Opened {
  GlooEntry* entry = nullptr;
  GlooVersion* version = nullptr;
  Absence absence = {};
};

Opened open() {
  const std::filesystem::path library = folderOfThisLibrary() / (std::string("mora_gloo") + kLibrarySuffix);
  const std::string build = "run \"npm run build native\"";
  std::error_code ignored;
  if (!std::filesystem::exists(library, ignored))
    return {.absence = {"node-mora was built without gloo", "install libgloo-dev (Debian, Ubuntu), then " + build}};
  leaveProcessAlone();
  std::string why;
  void* const handle = openLibrary(library, why);
  if (!handle) return {.absence = {"gloo could not be opened: " + why, "install libgloo-dev, then " + build}};
  const auto entry = reinterpret_cast<GlooEntry*>(addressIn(handle, "moraGlooRank"));
  const auto version = reinterpret_cast<GlooVersion*>(addressIn(handle, "moraGlooVersion"));
  if (!entry || !version) return {.absence = {library.string() + " is of another node-mora", build}};
  return {entry, version};
}

const Opened& required() {
  static const Opened gloo = open();
  if (!gloo.entry)
    throw Error("no-gloo", "These ranks meet over TCP, which takes gloo: " + gloo.absence.text() + ".",
                gloo.absence.remedy);
  return gloo;
}

}  // namespace

std::string glooVersion() { return required().version(); }

std::unique_ptr<GlooRank> openGloo(const std::string& address, int rank, int size, std::chrono::milliseconds patience) {
  return std::unique_ptr<GlooRank>(required().entry(address.c_str(), rank, size, patience));
}

}  // namespace mora::ranks
