/* Latencies in nanoseconds; a bucket is at most 3.2 % wide. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count, maximum;
    double sum;
};

void histogram_add(struct histogram *h, uint64_t value);

/* The value below which that part (0..1) of all values lies, as the middle of its bucket; 0 when there are none. */
double histogram_quantile(const struct histogram *h, double part);

#endif
