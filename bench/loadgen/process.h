/* What /proc says about the server, and what the kernel says about ourselves. */
#ifndef PROCESS_H
#define PROCESS_H

/* Seconds on a core, of all threads of all processes in that list of ids with commas. */
double process_cpu(const char *ids);

/* Resident memory of these in KB; -1 when it can't be read. */
long process_memory(const char *ids);

double own_cpu(void);

#endif
