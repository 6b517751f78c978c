#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_NOT_DONE);
}

void unsupported(const char *reason) {
    fprintf(stderr, "loadgen: %s\n", reason);
    exit(EXIT_UNSUPPORTED);
}

void *need(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) die("no memory for %zu times %zu bytes", count, size);
    return memory;
}
