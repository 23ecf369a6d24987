/* SPDX-License-Identifier: MIT */
#include "server/exit_code.h"

int exit_code_of_store(enum status st)
{
    switch (st) {
    case ST_CORRUPT:
    case ST_FOREIGN:
    case ST_NEWER:
        return EXIT_DATA;
    case ST_NOT_FOUND:
        return EXIT_NO_DATABASE;
    case ST_BUSY:
        return EXIT_IN_USE;
    case ST_NO_MEMORY:
        return EXIT_SYSTEM;
    default:
        return EXIT_CANNOT_WRITE;
    }
}
