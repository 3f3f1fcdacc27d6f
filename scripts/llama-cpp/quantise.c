// llama.cpp's own quantiser, of libraries without its headers: quantise LIBRARIES INPUT OUTPUT TYPE [IMATRIX], with the number
// of llama_ftype. Built and run by scripts/check-llama-cpp.mjs.
#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/// The fields of llama_model_quantize_params that are set here, which are its first.
struct Parameters {
  int32_t threads, type, output, embeddings;
  bool requantise, quantiseOutput;
  char others[1024];
};

static void* open(const char* folder, const char* pattern) {
  char path[4096];
  glob_t found;
  snprintf(path, sizeof path, "%s/%s", folder, pattern);
  void* library = glob(path, 0, NULL, &found) == 0 ? dlopen(found.gl_pathv[0], RTLD_NOW | RTLD_GLOBAL) : NULL;
  if (!library) fprintf(stderr, "%s: %s\n", path, dlerror());
  return library;
}

int main(int count, char** words) {
  if (count != 5) return 2;
  void* const ggml = open(words[1], "libggml.*so");
  void* const llama = open(words[1], "libllama.*so");
  if (!ggml || !llama) return 2;
  void (*load)(const char*) = (void (*)(const char*))dlsym(ggml, "ggml_backend_load_all_from_path");
  struct Parameters (*defaults)(void) = (struct Parameters(*)(void))dlsym(llama, "llama_model_quantize_default_params");
  uint32_t (*quantise)(const char*, const char*, const struct Parameters*) =
      (uint32_t(*)(const char*, const char*, const struct Parameters*))dlsym(llama, "llama_model_quantize");
  if (!load || !defaults || !quantise) return 2;
  load(words[1]);
  struct Parameters parameters = defaults();
  parameters.type = atoi(words[4]);
  return quantise(words[2], words[3], &parameters) == 0 ? 0 : 1;
}
