/* SPDX-License-Identifier: MIT */
/* key_command - `poold key`: makes, lists, rotates and revokes keys in the data folder. */
#ifndef SERVER_KEY_COMMAND_H
#define SERVER_KEY_COMMAND_H

/* argv[0] is the first argument after "key". Gives the exit code: 0, 1 when it could not be
 * done, EXIT_CONFIGURATION when the arguments are wrong. */
int key_main(int argc, char **argv);

#endif
