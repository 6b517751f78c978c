/* The echo server of --mode self, as a child. */
#ifndef ECHO_PROCESS_H
#define ECHO_PROCESS_H

/* Start it and point the options at it. It ends when the generator does. */
void echo_process_start(void);

#endif
