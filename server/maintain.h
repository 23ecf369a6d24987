/* SPDX-License-Identifier: MIT */
/*
 * maintain - the commands about a database: `poold check` and `poold backup`.
 *
 *     poold check [--data DIR]         is everything in it right? Not beside a server
 *     poold backup FILE [--data DIR]   copies it, also beside a server
 *
 * --help, as the only argument, says so, and what the exit codes mean. The directory is that
 * of the setting `data`: the flag, else POOLD_DATA, else ./data.
 */
#ifndef SERVER_MAINTAIN_H
#define SERVER_MAINTAIN_H

/* argv[0] is the first argument after the command. What was found goes to standard output,
 * a line each, errors to standard error. They return the exit code (server/exit_code.h):
 * EXIT_DATA if anything was found. */
int check_main(int argc, char **argv);
int backup_main(int argc, char **argv);

#endif
