/* SPDX-License-Identifier: MIT */
#include "server/metrics.h"

#include "common/mem.h"
#include "server/process_use.h"
#include "server/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void accept_chooses_the_format(void **state)
{
    static const struct {
        const char *accept;
        enum metrics_format format;
    } rows[] = {
        { NULL, METRICS_TEXT },
        { "", METRICS_TEXT },
        { "*/*", METRICS_TEXT },
        { "text/plain", METRICS_TEXT },
        { "text/html, */*;q=0.1", METRICS_TEXT },
        { "application/openmetrics-text", METRICS_OPEN },
        { "Application/OpenMetrics-Text;version=1.0.0", METRICS_OPEN },
        { "application/openmetrics-text-no", METRICS_TEXT },
        { "application/openmetrics-text;q=0", METRICS_TEXT },
        { "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5",
          METRICS_OPEN },
        { "text/plain;q=0.5, application/openmetrics-text;q=0.4", METRICS_TEXT },
        { "application/openmetrics-text , text/plain", METRICS_OPEN },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(metrics_format_of(rows[i].accept), rows[i].format);
}

static void both_formats_say_the_same(void **state)
{
    struct buf out = BUF_INIT;
    struct metrics_text text;

    (void)state;
    for (enum metrics_format format = METRICS_TEXT; format <= METRICS_OPEN; format++) {
        metrics_begin(&text, &out, format);
        metrics_family(&text, METRIC_BUILD_INFO);
        metrics_add(&text, 1, "version", "1", NULL);
        metrics_family(&text, METRIC_WORKERS_CPU);
        metrics_add(&text, 0.25, "pool", "a\"b\\c\nd", NULL);
        metrics_add(&text, 9007199254740991, "pool", "b", NULL);
        metrics_end(&text);
    }
    buf_add_char(&out, '\0');
    assert_string_equal(
        out.data, "# HELP poold_build_info The version that runs; always 1.\n"
                  "# TYPE poold_build_info gauge\n"
                  "poold_build_info{version=\"1\"} 1\n"
                  "# HELP poold_workers_cpu_seconds_total Processor time of the same.\n"
                  "# TYPE poold_workers_cpu_seconds_total counter\n"
                  "poold_workers_cpu_seconds_total{pool=\"a\\\"b\\\\c\\nd\"} 0.25\n"
                  "poold_workers_cpu_seconds_total{pool=\"b\"} 9007199254740991\n"
                  "# HELP poold_build The version that runs; always 1.\n"
                  "# TYPE poold_build info\n"
                  "poold_build_info{version=\"1\"} 1\n"
                  "# HELP poold_workers_cpu_seconds Processor time of the same.\n"
                  "# TYPE poold_workers_cpu_seconds counter\n"
                  "# UNIT poold_workers_cpu_seconds seconds\n"
                  "poold_workers_cpu_seconds_total{pool=\"a\\\"b\\\\c\\nd\"} 0.25\n"
                  "poold_workers_cpu_seconds_total{pool=\"b\"} 9007199254740991\n"
                  "# EOF\n");
    buf_clear(&out);
}

static void histogram_counts_up_to_its_bounds(void **state)
{
    struct histogram histogram = { .scale = &histogram_sizes };
    struct metrics_text text;
    struct buf out = BUF_INIT;

    (void)state;
    histogram_add(&histogram, 0);
    histogram_add(&histogram, 1);
    histogram_add(&histogram, 2);
    histogram_add(&histogram, 4096);
    histogram_add(&histogram, 4097);
    assert_int_equal(histogram_count(&histogram), 5);
    metrics_begin(&text, &out, METRICS_OPEN);
    metrics_family(&text, METRIC_COMMIT_COMMANDS);
    metrics_add_histogram(&text, &histogram, NULL);
    metrics_end(&text);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.data, "_bucket{le=\"1.0\"} 2\n"));
    assert_non_null(strstr(out.data, "_bucket{le=\"2048.0\"} 3\n"));
    assert_non_null(strstr(out.data, "_bucket{le=\"4096.0\"} 4\n"));
    assert_non_null(strstr(out.data, "_bucket{le=\"+Inf\"} 5\n"));
    assert_non_null(strstr(out.data, "_sum 8196\n"));
    assert_non_null(strstr(out.data, "_count 5\n"));
    buf_clear(&out);
}

static void durations_are_told_in_seconds(void **state)
{
    struct histogram histogram = { .scale = &histogram_durations };
    struct metrics_text text;
    struct buf out = BUF_INIT;

    (void)state;
    histogram_add(&histogram, 1500000);
    metrics_begin(&text, &out, METRICS_TEXT);
    metrics_family(&text, METRIC_COMMIT);
    metrics_add_histogram(&text, &histogram, NULL);
    metrics_end(&text);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.data, "{le=\"0.0001\"} 0\n"));
    assert_non_null(strstr(out.data, "{le=\"0.001\"} 0\n"));
    assert_non_null(strstr(out.data, "{le=\"0.005\"} 1\n"));
    assert_non_null(strstr(out.data, "{le=\"3600.0\"} 1\n"));
    assert_non_null(strstr(out.data, "_sum 0.0015\n"));
    buf_clear(&out);
}

static void traffic_counts_what_no_route_has_behind_them(void **state)
{
    struct traffic *traffic = traffic_new(2);

    (void)state;
    for (unsigned i = 1; i < TRAFFIC_CODES; i++)
        assert_true(traffic_codes[i] > traffic_codes[i - 1]);
    traffic_add(traffic, 1, 200, PROBLEM_COUNT, 5);
    traffic_add(traffic, 7, 404, PROBLEM_NOT_FOUND, 5);
    traffic_add(traffic, 0, 299, PROBLEM_COUNT, 5);
    traffic_add(traffic, 0, 0, PROBLEM_COUNT, 5);
    assert_int_equal(traffic->by_route[1].codes[1], 1);
    assert_int_equal(histogram_count(&traffic->by_route[2].duration), 1);
    assert_int_equal(traffic->by_route[0].codes[TRAFFIC_CODES], 1);
    assert_int_equal(traffic->by_route[0].codes[0], 1);
    for (enum problem i = 0; i < PROBLEM_COUNT; i++)
        assert_int_equal(traffic->problems[i], i == PROBLEM_NOT_FOUND);
    mem_free(traffic);
}

/* Every line of a table that names a family: | `name` | type | `label`, `label` | help | */
static void docs_list_every_family_and_no_other(void **state)
{
    FILE *page = fopen(DOCS "/metrics.md", "r");
    char line[1024], wanted[1024];
    unsigned found = 0;

    (void)state;
    assert_non_null(page);
    while (fgets(line, sizeof(line), page)) {
        enum metric i = 0;

        if (strncmp(line, "| `", 3) != 0)
            continue;
        for (; i < METRIC_COUNT; i++) {
            const struct metric_family *family = &metric_families[i];
            char labels[128] = "";

            for (const char *l = family->labels; *l; l += strspn(l, " ")) {
                int len = (int)strcspn(l, " ");

                (void)snprintf(labels + strlen(labels), sizeof(labels) - strlen(labels),
                               "%s`%.*s`", *labels ? ", " : " ", len, l);
                l += len;
            }
            (void)snprintf(wanted, sizeof(wanted), "| `%s` | %s |%s | %s |\n",
                           family->name, metric_type_names[family->type], labels,
                           family->help);
            if (strcmp(line, wanted) == 0)
                break;
        }
        if (i == METRIC_COUNT)
            print_error("docs/metrics.md has what the code has not: %s", line);
        assert_true(i < METRIC_COUNT);
        found++;
    }
    fclose(page);
    assert_int_equal(found, METRIC_COUNT);
}

static void use_of_a_tree_holds_the_children(void **state)
{
    enum { SIZE = 8 << 20 };
    struct process_use alone, tree;
    int ends[2], told[2];
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(told), 0);
    pid = fork();
    if (pid == 0) {
        char *memory = malloc(SIZE);

        close(ends[1]);
        if (!memory)
            _exit(1);
        memset(memory, 1, SIZE);
        _exit(write(told[1], memory, 1) == 1 && read(ends[0], &c, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    close(told[1]);
    /* One that has not run has hardly anything of its own, and small numbers are not exact. */
    assert_int_equal(read(told[0], &c, 1), 1);
    close(told[0]);
    alone = process_use_of(getpid());
    tree = process_use_of_tree(getpid());
    close(ends[1]);
    assert_int_equal(alone.processes, 1);
    assert_true(alone.resident_bytes > 0 && alone.threads >= 1);
    assert_int_equal(tree.processes, 2);
    assert_true(tree.resident_bytes >= alone.resident_bytes + SIZE / 2);
    assert_int_equal(process_use_of_tree(0).processes, 0);
    assert_true(process_open_fds() >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_chooses_the_format),
        cmocka_unit_test(both_formats_say_the_same),
        cmocka_unit_test(histogram_counts_up_to_its_bounds),
        cmocka_unit_test(durations_are_told_in_seconds),
        cmocka_unit_test(traffic_counts_what_no_route_has_behind_them),
        cmocka_unit_test(docs_list_every_family_and_no_other),
        cmocka_unit_test(use_of_a_tree_holds_the_children),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
