// Functions that programs linked on a newer glibc ask for and glibc 2.35 does not have, under glibc's oldest version.
#include <stddef.h>

extern long getrandom(void*, size_t, unsigned);
extern void abort(void);

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
