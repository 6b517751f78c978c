/* What every file needs: the clock, the ways to end, memory that is there. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum exit_status { EXIT_CLEAN = 0, EXIT_NOT_DONE = 2, EXIT_LOSS = 3, EXIT_UNSUPPORTED = 4 };

/* End with status 2: the run could not be done, and this is why. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End with status 4: this build of the generator cannot do the run. */
_Noreturn void unsupported(const char *reason);

/* Zeroed memory, or the end of the program. */
void *need(size_t count, size_t size);

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t ns(double seconds) { return (uint64_t)(seconds * 1e9); }

#endif
