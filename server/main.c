/* SPDX-License-Identifier: MIT */
/*
 * main - which of its jobs this process has.
 */
#include "common/fault.h"
#include "server/exit_code.h"
#include "server/health.h"
#include "server/json_load.h"
#include "server/key_command.h"
#include "server/maintain.h"
#include "server/serve.h"
#include "workers/forkserver.h"
#include "workers/scan.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "poold " POOLD_VERSION ": multiprocessing.Pool as a durable HTTP service\n"
    "\n"
    "  poold serve [SETTINGS]   run the service; poold serve --help lists the settings\n"
    "  poold health [URL]       ask a running service whether it is ready; exit code 0 "
    "or 1\n"
    "  poold tasks DIR...       list the tasks in folders, and what is wrong with files "
    "there\n"
    "  poold check              look for damage in the database of a server that does "
    "not "
    "run\n"
    "  poold backup FILE        copy the database, also beside a running server\n"
    "  poold key ...            make, list, rotate and revoke API keys; poold key "
    "--help\n"
    "  poold --version          print the version\n";

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    struct error_text err = { "" };

    if (fault_init(&err) != ST_OK) {
        (void)fprintf(stderr, "poold: %s\n", err.text);
        return EXIT_CONFIGURATION;
    }
    json_load_init();
    if (strcmp(command, "serve") == 0)
        return serve_main(argc - 2, argv + 2);
    if (strcmp(command, "health") == 0)
        return health_main(argc - 2, argv + 2);
    if (strcmp(command, "tasks") == 0)
        return scan_main(argc - 2, argv + 2);
    if (strcmp(command, "check") == 0)
        return check_main(argc - 2, argv + 2);
    if (strcmp(command, "backup") == 0)
        return backup_main(argc - 2, argv + 2);
    if (strcmp(command, "key") == 0)
        return key_main(argc - 2, argv + 2);
    if (strcmp(command, "forkserver") == 0)
        return forkserver_main(argc - 2,
                               argv + 2); /* only the service itself starts this */
    if (strcmp(command, "worker") == 0)
        return worker_main(argc - 2, argv + 2); /* and only the forkserver this */
    if (strcmp(command, "--version") == 0)
        return printf("poold %s\n", POOLD_VERSION) < 0;
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return fputs(usage, stdout) < 0;
    (void)fprintf(stderr, "poold: %s%s\n\n%s",
                  command[0] ? "unknown command: " : "no command", command, usage);
    return EXIT_CONFIGURATION;
}
