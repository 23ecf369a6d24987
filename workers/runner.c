/* SPDX-License-Identifier: MIT */
#include "workers/runner.h"

#include "common/clock.h"
#include "common/fd.h"
#include "workers/packed.h"
#include "workers/python.h"
#include "workers/template.h"
#include "workers/tidy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_LEN    (256u * 1024)
#define KEEP_MAX    (1024u * 1024) /* a larger buffer is given back after its chunk */
#define START_MS    60000          /* for the interpreter and all imports */
#define PACK_MAX    (1024u * 1024) /* integers of a chunk; more remain text */
#define END_MS      1000 /* how long a runner that is to end, or has, may take */
#define LIMITS      16   /* kinds of rlimits: all that Linux has */
#define ENVIRON_MAX (128u * 1024)

/* runner.py reads and writes the page as numbers of 64 bits. */
static_assert(offsetof(struct worker_page, item) == 1 * 8, "ITEM of runner.py");
static_assert(offsetof(struct worker_page, item_started_ns) == 2 * 8,
              "STARTED of runner.py");
static_assert(offsetof(struct worker_page, hurry) == 3 * 8, "HURRY of runner.py");
static_assert(RLIM_NLIMITS == LIMITS, "RLIMITS of runner.py");

/* Worker -> template, with the descriptors below; the environment as NAME=VALUE texts, each
 * with its NUL, follows. */
struct runner_request {
    uint64_t worker; /* pid, and process group */
    uint64_t result_max;
    uint64_t limits[LIMITS][2]; /* soft, hard */
};
enum { ASK_CHANNEL, ASK_PAGE, ASK_OUTPUT, ASK_CWD, ASK_LIFE, ASK_STATUS, ASK_COUNT };
static_assert(ASK_COUNT <= FD_PASS_MAX, "one message takes them all");

void runner_init(struct runner *runner, struct outgoing *out, struct worker_page *page,
                 int page_fd, uint64_t result_max)
{
    *runner = (struct runner){
        .out = out,
        .page = page,
        .page_fd = page_fd,
        .result_max = result_max,
        .sock = -1,
        .status = -1,
        .life = -1,
    };
}

/* ---- its end ----------------------------------------------------------------------- */

static bool readable_within(int fd, int timeout_ms)
{
    struct pollfd readable = { .fd = fd, .events = POLLIN };
    int n;

    do
        n = poll(&readable, 1, timeout_ms);
    while (n == -1 && errno == EINTR);
    return n == 1;
}

/* Waits END_MS for it. A child that closed its socket and goes on is killed. */
static bool wait_for_end(struct runner *runner, int *ret_wait_status)
{
    if (runner->pid > 0) {
        int pidfd = (int)syscall(SYS_pidfd_open, runner->pid, 0);

        if (pidfd == -1 || !readable_within(pidfd, END_MS))
            kill(runner->pid, SIGKILL);
        fd_close(&pidfd);
        return waitpid(runner->pid, ret_wait_status, 0) == runner->pid;
    }
    return runner->status != -1 && readable_within(runner->status, END_MS) &&
           recv(runner->status, ret_wait_status, sizeof(*ret_wait_status), 0) ==
               sizeof(*ret_wait_status);
}

/* The worker ends as its runner has. */
_Noreturn static void follow(struct runner *runner)
{
    sigset_t none;
    int wait_status;

    if (outgoing_flush(runner->out) != ST_OK || !wait_for_end(runner, &wait_status))
        _exit(EXIT_FAILURE); /* and the process group with it */
    if (WIFEXITED(wait_status))
        _exit(WEXITSTATUS(wait_status));
    signal(WTERMSIG(wait_status), SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)raise(WTERMSIG(wait_status));
    _exit(EXIT_FAILURE);
}

void runner_clear(struct runner *runner)
{
    int wait_status;

    if (runner->sock != -1) {
        fd_close(&runner->sock);
        (void)wait_for_end(runner, &wait_status);
    }
    fd_close(&runner->status);
    fd_close(&runner->life);
    buf_clear(&runner->in);
    buf_clear(&runner->packed);
    buf_clear(&runner->text);
}

/* ---- its start --------------------------------------------------------------------- */

static bool add_environ(struct buf *message)
{
    for (char **at = environ; at && *at; at++)
        buf_add(message, *at, strlen(*at) + 1);
    return !message->failed && message->len <= ENVIRON_MAX;
}

static bool make_request(const struct runner *runner, struct buf *ret_message)
{
    struct runner_request request = { .worker = (uint64_t)getpid(),
                                      .result_max = runner->result_max };

    for (int i = 0; i < LIMITS; i++) {
        struct rlimit limit;

        if (getrlimit(i, &limit) == -1)
            return false;
        request.limits[i][0] = limit.rlim_cur;
        request.limits[i][1] = limit.rlim_max;
    }
    buf_add(ret_message, &request, sizeof(request));
    return add_environ(ret_message);
}

/* An item's time does not run while its runner starts. */
static void start_anew(struct runner *runner)
{
    struct worker_page *page = runner->page;

    atomic_store_explicit(&page->item_started_ns, clock_mono_ns(), memory_order_release);
}

/* The template's answer: the pid, or 0 if we are to help ourselves. Imports may be under way
 * before. */
static bool is_forked(struct runner *runner)
{
    int32_t pid = 0;

    for (int waited = 0; waited < START_MS; waited += RUNNER_HURRY_MS) {
        if (readable_within(runner->status, RUNNER_HURRY_MS)) {
            if (recv(runner->status, &pid, sizeof(pid), 0) != sizeof(pid) || pid <= 0)
                return false;
            tidy_keep_other(pid);
            return true;
        }
        start_anew(runner);
    }
    return false;
}

static bool ask_template(struct runner *runner, int channel)
{
    struct buf message = BUF_INIT;
    int status[2] = { -1, -1 }, life[2] = { -1, -1 };
    int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool ok = cwd != -1 && fd_socket_pair(SOCK_SEQPACKET, status) == ST_OK &&
              pipe2(life, O_CLOEXEC) == 0 && make_request(runner, &message);

    if (ok) {
        int fds[ASK_COUNT] = {
            [ASK_CHANNEL] = channel,      [ASK_PAGE] = runner->page_fd,
            [ASK_OUTPUT] = STDOUT_FILENO, [ASK_CWD] = cwd,
            [ASK_LIFE] = life[0],         [ASK_STATUS] = status[1],
        };

        ok = fd_send(template_socket(), message.data, message.len, fds, ASK_COUNT) ==
             ST_OK;
    }
    fd_close(&status[1]);
    fd_close(&life[0]);
    fd_close(&cwd);
    buf_clear(&message);
    runner->status = status[0];
    runner->life = life[1];
    if (ok && is_forked(runner))
        return true;
    fd_close(&runner->status);
    fd_close(&runner->life);
    return false;
}

static bool start_interpreter(struct runner *runner, int channel)
{
    char result_max[24];
    pid_t self = getpid();

    (void)snprintf(result_max, sizeof(result_max), "%llu",
                   (unsigned long long)runner->result_max);
    runner->pid = fork();
    if (runner->pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == self)
            python_execute("run", result_max, channel, runner->page_fd);
        _exit(EXIT_FAILURE);
    }
    return runner->pid > 0 && tidy_keep_child(runner->pid);
}

/* A socket pair of its own for each way: what the template has done with the one that it got
 * may be not known. */
static bool start_by(struct runner *runner, bool (*way)(struct runner *, int channel))
{
    int pair[2];
    bool ok;

    if (fd_socket_pair(SOCK_STREAM, pair) != ST_OK)
        return false;
    ok = way(runner, pair[1]);
    fd_close(&pair[1]);
    if (ok)
        runner->sock = pair[0];
    else
        fd_close(&pair[0]);
    return ok;
}

static enum status start(struct runner *runner)
{
    bool ok = template_socket() != -1 && start_by(runner, ask_template);

    return ok || start_by(runner, start_interpreter) ? ST_OK : ST_IO;
}

/* ---- frames ------------------------------------------------------------------------ */

/* The next frame, whole, valid until the next call; *ret_len is what to drop then. */
static enum status next_frame(struct runner *runner, struct frame *ret_frame,
                              size_t *ret_len)
{
    struct buf *in = &runner->in;

    for (;;) {
        enum frame_verdict verdict = frame_parse(in->data, in->len, ret_frame, ret_len);
        size_t missing;
        ssize_t n;

        if (verdict != FRAME_NEED_MORE)
            return verdict == FRAME_OK ? ST_OK : ST_PROTOCOL;
        missing = *ret_len - in->len;
        if (!buf_reserve(in, missing > READ_LEN ? missing : READ_LEN))
            return ST_NO_MEMORY;
        do
            n = recv(runner->sock, in->data + in->len, in->cap - in->len, 0);
        while (n == -1 && errno == EINTR);
        if (n <= 0)
            follow(runner);
        in->len += (size_t)n;
    }
}

/* The payload, and what follows it: packed items. */
static void send_frame(struct runner *runner, const struct frame *frame, uint8_t flags,
                       struct text more)
{
    uint8_t header[FRAME_HEADER_LEN];
    struct iovec iov[] = { { header, sizeof(header) },
                           { (void *)(uintptr_t)frame->payload.at, frame->payload.len },
                           { (void *)(uintptr_t)more.at, more.len } };
    size_t left = sizeof(header) + frame->payload.len + more.len;
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

    frame_header(frame->kind, flags, frame->chunk_id, frame->payload.len + more.len,
                 header);
    while (left > 0) {
        ssize_t n = sendmsg(runner->sock, &msg, MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            follow(runner);
        left -= (size_t)n;
        for (int i = 0; i < 3; i++) {
            size_t taken = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

            iov[i].iov_base = (char *)iov[i].iov_base + taken;
            iov[i].iov_len -= taken;
            n -= (ssize_t)taken;
        }
    }
}

/* As it came, but for a list of integers, which Python reads best without their text. */
static void send_chunk(struct runner *runner, const struct frame *frame,
                       const struct frame_chunk *chunk)
{
    struct frame head = *frame;

    buf_reset(&runner->packed);
    if (chunk->style != CALL_MAP || chunk->count > PACK_MAX ||
        !packed_from_text(chunk->items, chunk->count, &runner->packed)) {
        send_frame(runner, frame, frame->flags, (struct text){ 0 });
        return;
    }
    head.payload.len -= chunk->items.len;
    send_frame(runner, &head, frame->flags | FRAME_PACKED, buf_text(&runner->packed));
    if (runner->packed.cap > KEEP_MAX)
        buf_clear(&runner->packed);
}

/* Waits for its first word; what it imports may take its time. */
static enum status await_ready(struct runner *runner)
{
    struct frame frame;
    size_t len;
    enum status st;
    int waited = 0;

    while (!readable_within(runner->sock, RUNNER_HURRY_MS)) {
        start_anew(runner);
        waited += RUNNER_HURRY_MS;
        if (waited >= START_MS)
            _exit(EXIT_FAILURE);
    }
    st = next_frame(runner, &frame, &len);
    if (st != ST_OK)
        return st;
    buf_drop_front(&runner->in, len);
    return frame.kind == FRAME_READY ? ST_OK : ST_PROTOCOL;
}

static enum status ensure_started(struct runner *runner)
{
    enum status st;

    if (runner->sock != -1)
        return ST_OK;
    st = start(runner);
    return st == ST_OK ? await_ready(runner) : st;
}

/* News of the item that is run, of which the server gets as many as are good for it. */
static enum status pass_on_progress(struct runner *runner, const struct frame *frame,
                                    uint64_t id)
{
    struct frame_progress progress;
    uint8_t head[FRAME_PROGRESS_HEAD_LEN];

    if (frame->chunk_id != id || frame->flags != 0 ||
        frame_progress_parse(frame->payload, &progress) != FRAME_OK)
        return ST_PROTOCOL;
    frame_progress_head(&progress, head);
    outgoing_offer(runner->out, FRAME_PROGRESS, id, head, sizeof(head), progress.message);
    return ST_OK;
}

/* Results that are integers get their text. */
static enum status pass_on_packed(struct runner *runner, const struct frame *frame,
                                  uint64_t id)
{
    struct frame_result result;
    uint8_t head[FRAME_RESULT_HEAD_LEN];

    buf_reset(&runner->text);
    if (frame->kind != FRAME_RESULT ||
        frame_result_parse(frame->payload, &result) != FRAME_OK ||
        result.results.len != (size_t)result.count * PACKED_LEN ||
        !packed_to_text(result.results, &runner->text))
        return ST_PROTOCOL;
    if (runner->text.failed)
        return ST_NO_MEMORY;
    frame_result_head(&result, head);
    return outgoing_add(runner->out, FRAME_RESULT, frame->flags & FRAME_LAST, id, head,
                        sizeof(head), buf_text(&runner->text));
}

/* What has come goes on to the server; what is not the chunk's last leaves at once. */
static enum status pass_on(struct runner *runner, const struct frame *frame, uint64_t id)
{
    enum status st;

    if (frame->kind == FRAME_PROGRESS)
        return pass_on_progress(runner, frame, id);
    if ((frame->kind != FRAME_RESULT && frame->kind != FRAME_FAILURE) ||
        frame->chunk_id != id)
        return ST_PROTOCOL;
    outgoing_withdraw(runner->out); /* it is no longer news */
    if (frame->flags & FRAME_PACKED)
        st = pass_on_packed(runner, frame, id);
    else
        st = outgoing_add(runner->out, frame->kind, frame->flags, id, NULL, 0,
                          frame->payload);
    if (st == ST_OK && !(frame->flags & FRAME_LAST))
        st = outgoing_flush(runner->out);
    return st;
}

static enum status pass_on_all(struct runner *runner, uint64_t id)
{
    struct frame frame = { 0 };
    enum status st = ST_OK;
    size_t len;

    while (st == ST_OK && !(frame.flags & FRAME_LAST)) {
        if (runner->in.len == 0 && !readable_within(runner->sock, RUNNER_HURRY_MS))
            atomic_store_explicit(&runner->page->hurry, 1, memory_order_relaxed);
        st = next_frame(runner, &frame, &len);
        if (st == ST_OK)
            st = pass_on(runner, &frame, id);
        if (st == ST_OK)
            buf_drop_front(&runner->in, len);
    }
    if (runner->in.cap > KEEP_MAX)
        buf_clear(&runner->in);
    if (runner->text.cap > KEEP_MAX)
        buf_clear(&runner->text);
    return st;
}

/* Whether it has ended meanwhile: it has nothing to say between chunks. */
static bool has_ended(const struct runner *runner)
{
    char byte;

    return runner->sock != -1 &&
           recv(runner->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

enum status runner_run(struct runner *runner, const struct frame *frame,
                       const struct frame_chunk *chunk)
{
    struct worker_page *page = runner->page;
    enum status st;
    bool timed = (frame->flags & FRAME_TIMED) != 0;

    /* Before the chunk is claimed, which then nobody is blamed for. */
    if (has_ended(runner))
        follow(runner);
    if (!page_claim(page, frame->chunk_id))
        return ST_OK;
    atomic_store_explicit(&page->item_started_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&page->hurry, 0, memory_order_relaxed);
    atomic_store_explicit(&page->item, chunk->first, memory_order_release);
    atomic_store_explicit(&page->item_chunk, frame->chunk_id, memory_order_release);
    st = ensure_started(runner);
    if (st != ST_OK)
        return st;
    /* What the server has heard last may be from before the start. */
    if (timed)
        start_anew(runner);
    else
        atomic_store_explicit(&page->item_started_ns, 0, memory_order_relaxed);
    send_chunk(runner, frame, chunk);
    return pass_on_all(runner, frame->chunk_id);
}

enum status runner_initialize(struct runner *runner, const struct frame *frame)
{
    struct frame answer;
    size_t len;
    enum status st = ensure_started(runner);

    if (st != ST_OK)
        return st;
    send_frame(runner, frame, frame->flags, (struct text){ 0 });
    st = next_frame(runner, &answer, &len);
    if (st != ST_OK)
        return st;
    if (answer.kind == FRAME_FAILURE) {
        st = pass_on(runner, &answer, 0);
        if (st == ST_OK)
            st = outgoing_flush(runner->out);
        return st == ST_OK ? ST_STATE : st;
    }
    buf_drop_front(&runner->in, len);
    return answer.kind == FRAME_READY ? ST_OK : ST_PROTOCOL;
}
