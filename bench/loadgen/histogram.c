#include "histogram.h"

/* Values below 32 have a bucket each; above, every power of two is cut into 32 steps. */
static unsigned bucket_of(uint64_t value) {
    if (value < HISTOGRAM_STEPS) return (unsigned)value;
    unsigned power = 63 - (unsigned)__builtin_clzll(value) - 5;
    return (power + 1) * HISTOGRAM_STEPS + (unsigned)(value >> power) - HISTOGRAM_STEPS;
}

static double middle_of(unsigned bucket) {
    if (bucket < HISTOGRAM_STEPS) return bucket;
    unsigned power = bucket / HISTOGRAM_STEPS - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << power;
    return (double)low + (double)((uint64_t)1 << power) / 2;
}

void histogram_add(struct histogram *h, uint64_t value) {
    h->buckets[bucket_of(value)]++;
    h->count++;
    h->sum += (double)value;
    if (value > h->maximum) h->maximum = value;
}

double histogram_quantile(const struct histogram *h, double part) {
    uint64_t wanted = (uint64_t)(part * (double)h->count), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen <= wanted) continue;
        double value = middle_of(i);
        return value < (double)h->maximum ? value : (double)h->maximum;
    }
    return (double)h->maximum;
}
