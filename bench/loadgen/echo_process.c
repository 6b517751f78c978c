#define _GNU_SOURCE
#include "echo_process.h"

#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common.h"
#include "options.h"

static void find_program(char path[PATH_MAX + 8]) {
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length < 0) die("/proc/self/exe cannot be read");
    path[length] = 0;
    strcat(dirname(path), "/echo");
}

/* A generator that is bound to one core would otherwise share it with the child. */
static void choose_core(void) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (options.echo_cpu < 0 || options.echo_cpu == core) CPU_SET(core, &cores);
    sched_setaffinity(0, sizeof cores, &cores);
}

static _Noreturn void run_program(int output) {
    char path[PATH_MAX + 8];
    find_program(path);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    choose_core();
    dup2(output, STDOUT_FILENO);
    execl(path, path, options.protocol == PROTOCOL_RAW ? "--raw" : "--ws", (char *)NULL);
    die("%s cannot be run; make builds it", path);
}

void echo_process_start(void) {
    static char id[16];
    int ends[2];
    if (pipe(ends)) die("pipe: no descriptors left");
    pid_t child = fork();
    if (child < 0) die("fork: no process can be started");
    if (!child) run_program(ends[1]);
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    if (!output || fscanf(output, "%d", &options.port) != 1) die("the echo server did not start");
    snprintf(id, sizeof id, "%d", (int)child);
    options.pid = id;
    options.host = "127.0.0.1";
    options.sub_path = "/subscribe";
    options.to_all = true; /* it knows no devices */
    options.setup.count = options.sub_setup.count = options.reader_setup.count = 0;
}
