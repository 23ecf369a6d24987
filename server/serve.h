/* SPDX-License-Identifier: MIT */
/*
 * serve - the service as a whole: start-up in order, signals, and stopping in order.
 *
 *     start   settings, forkserver (exec, before there is a database), store, pools,
 * port, unfinished jobs, workers SIGTERM or SIGINT: takes no new jobs, lets workers
 * finish what they run for up to drain_timeout, then kills them; what they had not
 * finished goes on after the next start again   kills them at once stop    workers, store
 * (commits what is queued), waiting requests (answered), port
 */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

/* `poold serve ARGS`: argv[0] is the first argument after "serve". Returns the exit
 * code: server/exit_code.h. */
int serve_main(int argc, char **argv);

#endif
