/* SPDX-License-Identifier: MIT */
/*
 * Lack of memory behind the HTTP API: the server as it is, but for its store, which is
 * the one in memory, in this process, with real workers and a client that is a socket. Of
 * each request the first, the second, ... allocation fails, once and from then on, from
 * its first byte to the last one of its answer. It is answered as without the fault, or with
 * `no-memory` or another 5xx, or the connection is closed: it is never told to be wrong.
 * Then, with memory again, what was acknowledged is done, and the server works. Each
 * request comes with a key.
 */
#include "tests/fault/questions.h"
#include "tests/unit/server/dispatch_rig.h"

#include "server/api.h"
#include "server/json_load.h"
#include "server/key_file.h"
#include "server/keys.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#define ANSWER_MAX 65536
#define HELD_OUT_NS                                                                      \
    (20 * 1000 * 1000ull) /* how long memory stays short without an answer */
#define ANSWER_NS   (20 * NS_PER_SEC)
#define REQUEST_MAX 4096

struct server {
    struct rig *rig;
    struct config config;
    struct api api;
    char dir[40]; /* of the keys */
    char key[KEY_TEXT_LEN + 1];
    bool closed;
};

struct answer {
    int status; /* 0: none */
    char text[ANSWER_MAX];
    const char *body;
};

/* ---- the server -------------------------------------------------------------------- */

static void make_key(struct server *server)
{
    struct key key = { .name = "admin", .scopes = SCOPE_ADMIN };
    struct error_text err = { "" };

    (void)snprintf(server->dir, sizeof(server->dir), "/tmp/poold-test-memory-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    assert_int_equal(key_file_add(server->dir, true, &key, server->key, &err), ST_OK);
}

static void open_http(struct server *server)
{
    static char *args[] = { "--listen=127.0.0.1:0", "--store=memory" };
    struct http_options options = { .host = "127.0.0.1",
                                    .max_body_bytes = 1 << 20,
                                    .max_bodies_bytes = 1 << 22,
                                    .gate = { 2048, 64, 8192 },
                                    .max_connections = 64,
                                    .idle_timeout_s = 60,
                                    .header_timeout_ms = 60000,
                                    .body_timeout_ms = 60000,
                                    .is_fed = api_is_fed,
                                    .on_over = api_on_over,
                                    .admit = api_admit };
    struct error_text err = { "" };
    char *environment[] = { NULL }; /* not that of whoever runs the test */
    enum config_action action;
    struct api *api = &server->api;

    assert_int_equal(config_load(2, args, environment, &server->config, &action, &err),
                     ST_OK);
    server->config.access_log = ACCESS_LOG_OFF;
    api->config = &server->config;
    api->dispatch = server->rig->dispatch;
    api->traffic = traffic_new(api_route_count());
    assert_non_null(api->traffic);
    assert_int_equal(keys_new(&server->rig->loop, server->dir, &api->keys, &err), ST_OK);
    descriptors_look(options.max_connections, options.max_connections, &api->descriptors);
    assert_int_equal(
        http_open(&server->rig->loop, &options, api_handle, api, &api->http, &err),
        ST_OK);
}

static void on_http_closed(void *data)
{
    ((struct server *)data)->closed = true;
}

static int set_up_server(void **state)
{
    struct server *server = calloc(1, sizeof(*server));

    assert_non_null(server);
    server->rig = rig_new("");
    server->rig->deadline_ns = UINT64_MAX;
    open_all(server->rig);
    make_key(server);
    open_http(server);
    *state = server;
    return 0;
}

static int tear_down_server(void **state)
{
    struct server *server = *state;
    void *rig = server->rig;
    char command[64];

    http_close(server->api.http, on_http_closed, server);
    WAIT(server->rig, server->closed);
    keys_free(server->api.keys);
    mem_free(server->api.traffic);
    config_clear(&server->config);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", server->dir);
    assert_int_equal(system(command), 0);
    free(server);
    return tear_down(&rig);
}

/* ---- the client -------------------------------------------------------------------- */

static int send_request(struct server *server, const char *text)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(http_port(server->api.http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = strlen(text);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
    return fd;
}

/* false: more is to come. */
static bool receive(int fd, struct answer *answer, size_t *len)
{
    ssize_t n = recv(fd, answer->text + *len, ANSWER_MAX - 1 - *len, MSG_DONTWAIT);

    if (n > 0) {
        *len += (size_t)n;
        return false;
    }
    return n == 0 || errno != EAGAIN;
}

/* With the n-th allocation failing (0: none). true: one has. Memory that stays short is
 * there again when there is no answer for a while: what runs then goes on. */
static bool ask(struct server *server, const char *text, unsigned n, bool sticky,
                struct answer *ret_answer)
{
    uint64_t began_ns = clock_mono_ns();
    int fd = send_request(server, text);
    bool fired = false, short_of = n != 0;
    size_t len = 0;

    mem_fail_at(n, sticky);
    while (!receive(fd, ret_answer, &len)) {
        turn(server->rig);
        fired = fired || (short_of && mem_calls() >= n);
        if (short_of && fired && clock_mono_ns() - began_ns > HELD_OUT_NS) {
            mem_fail_at(0, 0);
            short_of = false;
        }
        if (clock_mono_ns() - began_ns > ANSWER_NS)
            fail_msg("no answer, allocation %u%s: %s", n,
                     sticky ? " and all after it" : "", text);
    }
    fired = fired || (short_of && mem_calls() >= n);
    mem_fail_at(0, 0);
    close(fd);
    ret_answer->text[len] = '\0';
    ret_answer->body = strstr(ret_answer->text, "\r\n\r\n");
    ret_answer->body = ret_answer->body ? ret_answer->body + 4 : "";
    ret_answer->status = 0;
    (void)sscanf(ret_answer->text, "HTTP/1.1 %d", &ret_answer->status);
    return fired;
}

/* head: lines in place of that with the key; NULL: none. */
static void write_request(const struct server *server, char *out, const char *method,
                          const char *path, const char *type, const char *body,
                          const char *head)
{
    (void)snprintf(out, REQUEST_MAX,
                   "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                   "Content-Type: %s\r\nContent-Length: %zu\r\n%s%s%s\r\n%s",
                   method, path, type, strlen(body),
                   head ? head : "Authorization: Bearer ", head ? "" : server->key,
                   head ? "" : "\r\n", body);
}

/* Without a fault. */
static void ask_well(struct server *server, const char *method, const char *path,
                     const char *body, struct answer *ret_answer)
{
    char text[REQUEST_MAX];

    write_request(server, text, method, path, TYPE_JSON, body, NULL);
    ask(server, text, 0, false, ret_answer);
}

/* ---- the run ------------------------------------------------------------------------ */

/* The first id in what was answered; false: there is none. */
static bool find_id(const struct answer *answer, char ret_id[UUID_TEXT_LEN + 1])
{
    const char *at = strstr(answer->body, "\"id\":\"");

    return at && sscanf(at + 6, "%36[0-9a-f-]", ret_id) == 1;
}

static void fill_in(char *out, const char *text, const char *id)
{
    const char *at = strstr(text, "{}");

    if (at)
        (void)snprintf(out, REQUEST_MAX / 4, "%.*s%s%s", (int)(at - text), text, id,
                       at + 2);
    else
        (void)snprintf(out, REQUEST_MAX / 4, "%s", text);
}

static void get_job(struct server *server, const char *id, const char *what,
                    struct answer *ret_answer)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/jobs/%s%s", id, what);
    ask_well(server, "GET", path, "", ret_answer);
}

static void make_before(struct server *server, const struct question *question,
                        char ret_id[UUID_TEXT_LEN + 1])
{
    static const char *const paths[] = { "/v1/apply_async", "/v1/pools",
                                         "/v1/admin/keys" };
    static struct answer answer;

    ask_well(server, "POST", paths[question->of], question->before, &answer);
    assert_int_equal(answer.status, question->of == A_JOB ? 202 : 201);
    assert_true(find_id(&answer, ret_id) || question->of == A_POOL);
    if (!question->until)
        return;
    get_job(server, ret_id, "?timeout=10", &answer);
    if (!strstr(answer.body, question->until))
        fail_msg("%s: %s", question->name, answer.text);
}

/* Whatever has become of it: it can be taken away. */
static void clear_pool(struct server *server)
{
    uint64_t began_ns = clock_mono_ns();
    static struct answer answer;

    do {
        ask_well(server, "DELETE", "/v1/pools/p", "", &answer);
        if (clock_mono_ns() - began_ns > ANSWER_NS)
            fail_msg("the pool stays: %s", answer.text);
    } while (answer.status != 404);
}

static void clear_key(struct server *server)
{
    struct error_text err = { "" };
    struct key key;
    enum status st = key_file_revoke(server->dir, true, "k", &key, &err);

    if (st != ST_OK && st != ST_NOT_FOUND)
        fail_msg("%s", err.text);
    keys_look(server->api.keys);
}

static void clear_job(struct server *server, const char *id)
{
    static struct answer answer;
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/jobs/%s/cancel", id);
    ask_well(server, "POST", path, "{\"terminate\":true}", &answer);
    get_job(server, id, "?timeout=10", &answer);
    if (answer.status != 404 && !strstr(answer.body, "\"ready\":true"))
        fail_msg("%s, and it does not end: %s", path, answer.text);
    (void)snprintf(path, sizeof(path), "/v1/jobs/%s", id);
    ask_well(server, "DELETE", path, "", &answer);
}

static void judge(struct server *server, const struct question *question,
                  const struct answer *answer, unsigned n, bool sticky)
{
    static struct answer after;
    char id[UUID_TEXT_LEN + 1];

    if (answer->status != question->status && answer->status &&
        !((question->makes || question->then) && answer->status == 202) &&
        (answer->status < 500 || !strstr(answer->body, "\"type\"")))
        fail_msg("%s, allocation %u%s: %s", question->name, n,
                 sticky ? " and all after it" : "", answer->text);
    if (strstr(answer->body, "\"/problems/no-memory\"") && answer->status != 503)
        fail_msg("%s, allocation %u: %s", question->name, n, answer->text);
    if (answer->status == 503 && !strstr(answer->text, "Retry-After: "))
        fail_msg("%s: %s", question->name, answer->text);
    if (question->makes && answer->status == 202 && find_id(answer, id)) {
        get_job(server, id, "/result?timeout=10", &after);
        /* Memory may be short again when its result comes, and that has failed it. */
        if (after.status != 200 && after.status != 500)
            fail_msg("%s, allocation %u%s: acknowledged, and then: %s", question->name, n,
                     sticky ? " and all after it" : "", after.text);
    }
}

static void clear_away(struct server *server, const struct question *question,
                       const char *id)
{
    if (question->of == A_POOL)
        clear_pool(server);
    else if (question->of == A_KEY)
        clear_key(server);
    else if (question->before)
        clear_job(server, id);
}

/* What was told to be done is. */
static void judge_then(struct server *server, const struct question *question,
                       const char *id, unsigned n, bool sticky)
{
    const char *then = question->then;
    static struct answer answer;

    if (question->then_at)
        ask_well(server, "GET", question->then_at, "", &answer);
    else
        get_job(server, id, "?timeout=10", &answer);
    if (!strstr(answer.body, then[0] == '!' ? then + 1 : then) != (then[0] == '!'))
        fail_msg("%s, allocation %u%s, and then: %s", question->name, n,
                 sticky ? " and all after it" : "", answer.text);
}

/* false: no allocation has failed. */
static bool try_once(struct server *server, const struct question *question, unsigned n,
                     bool sticky)
{
    static struct answer answer;
    char id[UUID_TEXT_LEN + 1] = "", path[REQUEST_MAX / 4], body[REQUEST_MAX / 4];
    char text[REQUEST_MAX];
    bool fired;

    if (question->before)
        make_before(server, question, id);
    fill_in(path, question->path, id);
    fill_in(body, question->body, id);
    write_request(server, text, question->method, path,
                  question->type ? question->type : TYPE_JSON, body, question->head);
    fired = ask(server, text, n, sticky, &answer);
    judge(server, question, &answer, n, sticky);
    if (question->then && answer.status && answer.status < 300) {
        judge_then(server, question, id, n, sticky);
        answer.status = question->status;
    }
    if (!n && answer.status != question->status)
        fail_msg("%s: %s", question->name, answer.text);
    clear_away(server, question, id);
    ask_well(server, "POST", "/v1/apply", IS_DONE, &answer);
    if (answer.status != 200)
        fail_msg("after %s, allocation %u%s: %s", question->name, n,
                 sticky ? " and all after it" : "", answer.text);
    return fired;
}

static void no_request_is_told_to_be_wrong(void **state)
{
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        uint64_t began_ns = clock_mono_ns();
        unsigned runs = 0;

        (void)try_once(*state, &questions[i], 0, false);
        for (int sticky = 0; sticky < 2; sticky++)
            for (unsigned n = 1; try_once(*state, &questions[i], n, sticky);
                 n += questions[i].step ? questions[i].step : 1)
                runs++;
        print_message("%s: %u runs, %.1f s\n", questions[i].name, runs,
                      (double)(clock_mono_ns() - began_ns) / NS_PER_SEC);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_request_is_told_to_be_wrong, set_up_server,
                                        tear_down_server),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    json_load_init();
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("memory_api", tests, NULL, NULL);
}
