/* SPDX-License-Identifier: MIT */
/*
 * scan - `poold tasks DIR…`: which tasks there are in folders, and what is wrong with the
 * files that are refused.
 *
 * Files are taken in order of name, folders in the order given; names that begin with '.'
 * or '_' and suffixes that no runtime has are passed over. Each file is looked at by a
 * child that may crash or hang, and that is confined as a worker is (confine_process.h). A
 * file is refused as a whole: when its probe fails, when one of its tasks has a name that is
 * taken already, or when everybody may write to it.
 *
 *     poold tasks [--json] [--settings JSON] [--probe-timeout SECONDS]
 *                 [--confine WORD]... [--limits JSON] [DIR...]
 *
 * also looks at what the settings list by name (runtime.h), and prints a table for people,
 * or the catalog (workers/catalog.h). Exit code 0; 1 if a file was refused (not with
 * --json); 2 for wrong arguments or a folder that cannot be read.
 */
#ifndef WORKERS_SCAN_H
#define WORKERS_SCAN_H

#define PROBE_MS     10000 /* how long a file may take, unless told otherwise */
#define PROBE_MS_MAX 300000

#define SCAN_EXIT_USAGE 2

int scan_main(int argc, char **argv);

#endif
