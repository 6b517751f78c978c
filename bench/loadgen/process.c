#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common.h"

/* The scheduler's own count in nanoseconds; the ticks of /proc/PID/stat are too coarse for a short run. */
static double thread_cpu(long id, const char *thread) {
    char path[320];
    unsigned long long spent = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", id, thread);
    FILE *file = fopen(path, "r");
    if (!file) return 0; /* the thread ended meanwhile */
    if (fscanf(file, "%llu", &spent) != 1) spent = 0;
    fclose(file);
    return (double)spent / 1e9;
}

static double one_cpu(long id) {
    char path[64];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", id);
    DIR *directory = opendir(path);
    if (!directory) die("--pid: there is no process %ld", id);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (*entry->d_name != '.') sum += thread_cpu(id, entry->d_name);
    closedir(directory);
    return sum;
}

static long next_id(const char **ids) {
    char *end;
    long id = strtol(*ids, &end, 10);
    if (end == *ids || (*end && *end != ',')) die("--pid %s: numbers with commas between them are wanted", *ids);
    *ids = *end ? end + 1 : end;
    return id;
}

double process_cpu(const char *ids) {
    double sum = 0;
    while (ids && *ids) sum += one_cpu(next_id(&ids));
    return sum;
}

static long one_memory(long id) {
    char path[64], line[256];
    long size = -1;
    snprintf(path, sizeof path, "/proc/%ld/status", id);
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    while (size < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &size) != 1) size = -1;
    fclose(file);
    return size;
}

long process_memory(const char *ids) {
    long sum = 0;
    if (!ids || !*ids) return -1;
    while (*ids) {
        long size = one_memory(next_id(&ids));
        if (size < 0) return -1;
        sum += size;
    }
    return sum;
}

double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
