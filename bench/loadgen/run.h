/* The phases of a run, each with an end of its own. */
#ifndef RUN_H
#define RUN_H

/* Returns the exit status. */
int run(void);

#endif
