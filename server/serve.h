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

/* Exit codes, of sysexits.h. */
enum {
    EXIT_DATA = 65,         /* the database is damaged, foreign or newer; untouched */
    EXIT_UNAVAILABLE = 69,  /* the port is in use, or may not be used */
    EXIT_SYSTEM = 71,       /* no process or memory to start with */
    EXIT_CANNOT_WRITE = 73, /* the data directory cannot be written */
    EXIT_STORAGE = 74,      /* the disk failed while running; start again to recover */
    EXIT_IN_USE = 75,       /* another server has the database */
    EXIT_CONFIGURATION = 78,
};

/* `poold serve ARGS`: argv[0] is the first argument after "serve". Returns the exit code.
 */
int serve_main(int argc, char **argv);

#endif
