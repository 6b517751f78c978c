/* The load generator of the benchmark; README.md says what it proves. */
#include <signal.h>

#include "connection.h"
#include "echo_process.h"
#include "load.h"
#include "options.h"
#include "run.h"
#include "session.h"

int main(int count, char **arguments) {
    options_parse(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    session_prepare();
    connections_prepare();
    if (options.mode == MODE_SELF) echo_process_start();
    load_prepare();
    return run();
}
