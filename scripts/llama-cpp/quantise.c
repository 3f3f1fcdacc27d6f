// llama.cpp's own quantiser, of libraries without its headers: quantise LIBRARIES INPUT OUTPUT TYPE [IMATRIX], with the number
// of llama_ftype, and an importance matrix in the format of its older files. Built and run by scripts/check-llama-cpp.mjs.
#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/// The importance of a weight's columns; the last one has no name.
struct Importance {
  const char* name;
  const float* columns;
  size_t count;
};

/// The fields of llama_model_quantize_params that are set here, which are its first.
struct Parameters {
  int32_t threads, type, output, embeddings;
  bool requantise, quantiseOutput, others[4];
  const struct Importance* importance;
  char rest[1024];
};

static void* open(const char* folder, const char* pattern) {
  char path[4096];
  glob_t found;
  snprintf(path, sizeof path, "%s/%s", folder, pattern);
  void* library = glob(path, 0, NULL, &found) == 0 ? dlopen(found.gl_pathv[0], RTLD_NOW | RTLD_GLOBAL) : NULL;
  if (!library) fprintf(stderr, "%s: %s\n", path, dlerror());
  return library;
}

static int32_t number(FILE* file) {
  int32_t value = 0;
  if (fread(&value, sizeof value, 1, file) != 1) exit(2);
  return value;
}

static void* bytes(FILE* file, size_t size) {
  char* const read = calloc(size + 1, 1);
  if (!read || fread(read, 1, size, file) != size) exit(2);
  return read;
}

/// Lives as long as the program.
static struct Importance* readImportance(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (!file) exit(2);
  const int32_t entries = number(file);
  struct Importance* const all = calloc((size_t)entries + 1, sizeof *all);
  for (int32_t i = 0; all && i < entries; ++i) {
    all[i].name = bytes(file, (size_t)number(file));
    if (number(file) != 1) exit(2);
    all[i].count = (size_t)number(file);
    all[i].columns = bytes(file, all[i].count * sizeof(float));
  }
  fclose(file);
  return all;
}

int main(int count, char** words) {
  if (count != 5 && count != 6) return 2;
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
  if (count == 6) parameters.importance = readImportance(words[5]);
  return quantise(words[2], words[3], &parameters) == 0 ? 0 : 1;
}
