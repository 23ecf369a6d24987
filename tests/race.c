/* SPDX-License-Identifier: MIT */
/* Two threads write the same number, and no lock is held: for ThreadSanitizer to tell. */
#include <pthread.h>
#include <stdio.h>

static int number;

static void *count(void *to)
{
    for (int i = 0; i < 1000; i++)
        ++*(volatile int *)to;
    return NULL;
}

int main(void)
{
    pthread_t other;

    if (pthread_create(&other, NULL, count, &number) != 0)
        return 2;
    count(&number);
    pthread_join(other, NULL);
    printf("%d\n", number);
    return 0;
}
