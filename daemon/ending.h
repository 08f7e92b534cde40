/*
 * daemon/ending: the daemon ends in a bounded time, also while threads of its loop hang in files
 * of a host that does not answer. Loop thread.
 */
#ifndef DAEMON_ENDING_H
#define DAEMON_ENDING_H

#include <uv.h>

struct ending {
    uv_timer_t timer;
};

void ending_init(struct ending *ending, uv_loop_t *loop);
/* MS from now the process exits with success, whatever it still waits for, and says so. */
void ending_begin(struct ending *ending, unsigned ms);
/* Closes all handles of the loop, runs it until its threads have ended, and closes it. */
void ending_run_out(struct ending *ending);

#endif
