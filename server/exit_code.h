/* SPDX-License-Identifier: MIT */
/* exit_code - what the commands end with: codes of sysexits.h. */
#ifndef SERVER_EXIT_CODE_H
#define SERVER_EXIT_CODE_H

#include "common/status.h"

enum {
    EXIT_DATA = 65,         /* the database is damaged, foreign or newer; untouched */
    EXIT_NO_DATABASE = 66,  /* there is none to check or to copy */
    EXIT_UNAVAILABLE = 69,  /* the port is in use, or may not be used */
    EXIT_SYSTEM = 71,       /* no process or memory to start with, or one was killed */
    EXIT_CANNOT_WRITE = 73, /* the data directory, or a copy, cannot be written */
    EXIT_STORAGE = 74,      /* the disk failed while running; start again to recover */
    EXIT_IN_USE = 75,       /* another server has the database */
    EXIT_CONFIGURATION = 78,
};

/* For a database that cannot be opened, copied or checked. */
int exit_code_of_store(enum status st);

#endif
