/* SPDX-License-Identifier: MIT */
/*
 * sim_log - what was done to the files of a directory, and what a power cut leaves of it.
 *
 * Private to sim_disk.c, which says what the entries mean, and takes the lock.
 */
#ifndef TESTS_FAULT_SIM_LOG_H
#define TESTS_FAULT_SIM_LOG_H

#include <stddef.h>
#include <stdint.h>

enum sim_op {
    SIM_WRITE,    /* bytes at `at` */
    SIM_TRUNCATE, /* to the size `at` */
    SIM_SYNC,
    SIM_CREATE, /* nothing if the name is there */
    SIM_RENAME,
    SIM_REMOVE,
    SIM_SYNCDIR
};

struct sim_entry {
    enum sim_op op;
    const char *name, *to; /* copied by sim_log_add */
    uint64_t at;
    const void *bytes; /* copied, too */
    size_t len;
    unsigned file; /* set by sim_log_add: names come and go, files do not */
};

/* Forgets all and begins with the files that are in dir. */
void sim_log_begin(const char *dir);
void sim_log_add(const struct sim_entry *entry);
size_t sim_log_len(void);
enum sim_op sim_log_op(size_t entry);
/* See disk_image. */
void sim_log_image(size_t cut, uint64_t seed, const char *dir);

/* A generator of random numbers for all of tests/fault: splitmix64. */
static inline uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
