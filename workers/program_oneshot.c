/* SPDX-License-Identifier: MIT */
/*
 * A process for an item. Three pipes and the process itself are waited for together, so
 * that neither side waits for the other: a program may write before it has read, or never
 * read at all. It is its end that counts, not the end of its output, which somebody else
 * that it has started may hold open.
 */
#include "workers/items.h"
#include "workers/program.h"
#include "workers/program_line.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_MAX  4096 /* bytes of its standard error that an exception has */
#define DRAIN_MAX 64   /* reads of what a program has left in a pipe */

struct shot {
    struct task_call *call;
    const struct program *program;
    struct process process;
    struct buf in, out, err; /* err: the end of it */
    size_t sent;
    uint64_t deadline_ns;
    bool in_grace; /* it has closed its output: the result counts, at the deadline too */
};

/* The value itself if it is all there is. */
static void write_input(struct shot *shot)
{
    const struct task_call *call = shot->call;
    struct text rest = call->positional, first, second;
    bool one = items_next(&rest, &first) && !items_next(&rest, &second);

    if (one && items_inside(call->kwargs).len == 0)
        buf_add_text(&shot->in, first);
    else
        program_line_request(&shot->in, 0, call->positional, call->kwargs,
                             (struct text){ 0 }); /* it is in the environment */
    buf_add_char(&shot->in, '\n');
}

/* ---- what it writes ---------------------------------------------------------------- */

/* Into the log, and the end of it is kept. */
static enum program_read read_err(struct shot *shot)
{
    size_t before = shot->err.len;
    enum program_read got = program_read(shot->process.err, &shot->err);
    const char *at = shot->err.data + before;

    while (at < shot->err.data + shot->err.len) {
        ssize_t n =
            write(STDERR_FILENO, at, (size_t)(shot->err.data + shot->err.len - at));

        if (n == -1 && errno != EINTR)
            break; /* nobody keeps a log */
        at += n > 0 ? n : 0;
    }
    if (shot->err.len > TAIL_MAX)
        buf_drop_front(&shot->err, shot->err.len - TAIL_MAX);
    if (got == READ_END || got == READ_NO_MEMORY)
        fd_close(&shot->process.err);
    return got;
}

static enum program_read read_out(struct shot *shot)
{
    enum program_read got = program_read(shot->process.out, &shot->out);

    if (got == READ_END) {
        fd_close(&shot->process.out);
        shot->in_grace = true;
        shot->deadline_ns = clock_mono_ns() + PROGRAM_GRACE_MS * NS_PER_MS;
    }
    return got;
}

/* Whether the output is more than a result may be, or than there is memory for: then the
 * call is over. One more byte is the line break at its end. */
static bool is_too_much(struct shot *shot)
{
    char message[128];
    int len;

    if (shot->out.failed) {
        call_raise(shot->call, "MemoryError", "out of memory for the program's output");
        return true;
    }
    if (shot->out.len <= shot->call->result_max + 1)
        return false;
    len =
        snprintf(message, sizeof(message), "the program has written more than %llu bytes",
                 (unsigned long long)shot->call->result_max);
    program_fail(shot->call, FAILURE_RESULT_TOO_LARGE, "ResultTooLarge",
                 (struct text){ message, (size_t)len }, (struct text){ 0 });
    return true;
}

/* It has ended: what is in the pipes is all there is. Somebody else may go on writing. */
static void drain(struct shot *shot)
{
    for (int i = 0; shot->process.out != -1 && i < DRAIN_MAX; i++) {
        if (read_out(shot) != READ_SOME)
            break;
    }
    for (int i = 0; shot->process.err != -1 && i < DRAIN_MAX; i++) {
        if (read_err(shot) != READ_SOME)
            break;
    }
}

/* ---- waiting ----------------------------------------------------------------------- */

enum shot_end { SHOT_GOES_ON, SHOT_ENDED, SHOT_LATE, SHOT_REFUSED };

static enum shot_end wait_once(struct shot *shot)
{
    struct pollfd wait[] = {
        { .fd = shot->process.in, .events = POLLOUT },
        { .fd = shot->process.out, .events = POLLIN },
        { .fd = shot->process.err, .events = POLLIN },
        { .fd = shot->process.pidfd, .events = POLLIN },
    };
    int n = poll(wait, 4, program_ms_left(shot->deadline_ns));

    if (n == 0)
        return SHOT_LATE;
    if (n == -1)
        return SHOT_GOES_ON; /* EINTR */
    if (wait[0].revents &&
        (!program_write(shot->process.in, buf_text(&shot->in), &shot->sent) ||
         shot->sent == shot->in.len))
        fd_close(&shot->process.in); /* all is written, or it reads no more */
    if (wait[1].revents)
        (void)read_out(shot);
    if (wait[2].revents)
        (void)read_err(shot);
    if (wait[3].revents)
        drain(shot);
    if (is_too_much(shot))
        return SHOT_REFUSED;
    return wait[3].revents ? SHOT_ENDED : SHOT_GOES_ON;
}

/* ---- what comes of it -------------------------------------------------------------- */

static struct text trim_line_breaks(struct text text)
{
    while (text.len > 0 &&
           (text.at[text.len - 1] == '\n' || text.at[text.len - 1] == '\r'))
        text.len--;
    return text;
}

/* The output as it is if it is JSON, else as a string. */
static void give_result(struct shot *shot)
{
    struct text output = buf_text(&shot->out), value;

    if (program_line_is_json(output, &value)) {
        call_return_text(shot->call, value);
        return;
    }
    output = trim_line_breaks(output);
    if (!program_line_is_text(output)) {
        program_fail(shot->call, FAILURE_INVALID_RESULT, "InvalidResult",
                     TEXT("the program's output is neither JSON nor UTF-8 without NUL"),
                     (struct text){ 0 });
        return;
    }
    buf_add_json_string(call_out(shot->call), output);
    call_return_written(shot->call);
}

static struct text last_line(struct text text)
{
    const char *line_break;

    text = trim_line_breaks(text);
    line_break = text.len > 0 ? memrchr(text.at, '\n', text.len) : NULL;
    if (!line_break)
        return text;
    return (struct text){ line_break + 1, text.len - (size_t)(line_break + 1 - text.at) };
}

static void raise_code(struct shot *shot, int code)
{
    struct text line = last_line(buf_text(&shot->err));
    struct buf message = BUF_INIT;

    buf_addf(&message, "the program ended with code %d", code);
    if (line.len > 0) {
        buf_add_str(&message, ": ");
        buf_add(&message, line.at, line.len < 1024 ? line.len : 1024);
    }
    program_fail(shot->call, FAILURE_TASK, "CalledProcessError",
                 message.failed ? TEXT("the program ended with a code other than 0")
                                : buf_text(&message),
                 buf_text(&shot->err));
    buf_clear(&message);
}

static void judge(struct shot *shot, int wait_status)
{
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) {
        give_result(shot);
    } else if (WIFEXITED(wait_status)) {
        raise_code(shot, WEXITSTATUS(wait_status));
    } else if (shot->call->cpu_ms > 0 && WTERMSIG(wait_status) == SIGXCPU) {
        program_fail_cpu(shot->call);
    } else {
        program_follow(shot->program, wait_status);
    }
}

static void run_started(struct shot *shot)
{
    enum shot_end end = SHOT_GOES_ON;
    int wait_status;

    shot->deadline_ns = program_deadline(shot->program);
    while (end == SHOT_GOES_ON)
        end = wait_once(shot);
    wait_status = process_end(&shot->process);
    if (end == SHOT_ENDED)
        judge(shot, wait_status);
    else if (end == SHOT_LATE && shot->in_grace)
        give_result(shot);
    else if (end == SHOT_LATE)
        program_fail_time(shot->call);
}

void program_run_oneshot(struct task_call *call)
{
    struct program *program = call->task->data;
    struct shot shot = { .call = call, .program = program };
    void (*before_signal)(int) = signal(SIGPIPE, SIG_IGN);
    const struct process_options options = { .own_err = true, .cpu_ms = call->cpu_ms };
    struct process_children before;
    struct error_text err = { "" };

    process_adopt_orphans();
    process_list_children(&before);
    write_input(&shot);
    program_manifest_trace(&program->manifest, call->trace);
    if (shot.in.failed)
        call_raise(call, "MemoryError", "out of memory for the program's input");
    else if (process_start(&program->manifest, &options, &shot.process, &err) != ST_OK)
        program_fail_start(call, errno, &err);
    else
        run_started(&shot);
    process_sweep(&before);
    buf_clear(&shot.in);
    buf_clear(&shot.out);
    buf_clear(&shot.err);
    signal(SIGPIPE, before_signal);
}
