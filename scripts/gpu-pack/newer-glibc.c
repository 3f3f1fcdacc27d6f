// Functions that programs linked on a newer glibc ask for and glibc 2.35 does not have, under glibc's oldest version.
// They are declared here, because the headers of a newer glibc would bind these very names to the newer functions.
#include <stdarg.h>
#include <stddef.h>

typedef struct File File;
extern long strtol(const char*, char**, int);
extern long long strtoll(const char*, char**, int);
extern unsigned long strtoul(const char*, char**, int);
extern unsigned long long strtoull(const char*, char**, int);
extern int vsscanf(const char*, const char*, va_list);
extern int vfscanf(File*, const char*, va_list);
extern long getrandom(void*, size_t, unsigned);
extern void abort(void);

// The newer ones read "0b101" as binary too; nothing in the pack relies on that.
long __isoc23_strtol(const char* text, char** end, int base) { return strtol(text, end, base); }
long long __isoc23_strtoll(const char* text, char** end, int base) { return strtoll(text, end, base); }
unsigned long __isoc23_strtoul(const char* text, char** end, int base) { return strtoul(text, end, base); }
unsigned long long __isoc23_strtoull(const char* text, char** end, int base) { return strtoull(text, end, base); }

int __isoc23_sscanf(const char* text, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int count = vsscanf(text, format, arguments);
  va_end(arguments);
  return count;
}

int __isoc23_fscanf(File* file, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int count = vfscanf(file, format, arguments);
  va_end(arguments);
  return count;
}

void arc4random_buf(void* target, size_t bytes) {
  char* at = target;
  while (bytes > 0) {
    const long got = getrandom(at, bytes, 0);
    if (got < 0) abort();
    at += got;
    bytes -= (size_t)got;
  }
}

unsigned arc4random(void) {
  unsigned value;
  arc4random_buf(&value, sizeof value);
  return value;
}
