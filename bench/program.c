/* SPDX-License-Identifier: MIT */
/*
 * The least that a persistent program can do (docs/programs.md): it answers each line with its
 * first argument. With this, what a round trip costs is what poold makes it cost.
 *
 *     {"id":7,"args":[49],"kwargs":{}}    ->    {"id":7,"result":49}
 */
#include <stdio.h>
#include <string.h>

int main(void)
{
    static char line[1 << 16];

    while (fgets(line, sizeof(line), stdin)) {
        char *id = strchr(line, ':'), *args = strstr(line, "\"args\":[");
        char *end = strstr(line, "],\"kwargs\":");

        if (!id || !args || !end)
            return 1;
        args += strlen("\"args\":[");
        printf("{\"id\":%.*s,\"result\":%.*s}\n", (int)strcspn(id + 1, ","), id + 1,
               (int)(end - args), args);
        fflush(stdout);
    }
    return 0;
}
