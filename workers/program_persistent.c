/* SPDX-License-Identifier: MIT */
/*
 * An item costs few system calls here when all is well: a look at what the program has
 * said unasked, a write, a wait, a read. Its answer is looked for in a buffer that stays
 * with the program, so that what it has written too much is not lost, and tells what it
 * is.
 */
#include "workers/program.h"
#include "workers/program_line.h"

#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP_MAX     (1u << 20) /* a larger buffer is given back after the item */
#define SHOWN_MAX    200        /* bytes of a line in a message */
#define CPU_GRACE_MS 2000 /* the granted time is rounded up to seconds, and one more */

/* One item on its way. */
struct exchange {
    struct task_call *call;
    struct program *program;
    size_t sent;    /* bytes of the request */
    size_t scanned; /* bytes of program->in in which there is no line break */
    uint64_t deadline_ns;
    int64_t
        cpu_end_ms; /* of the program's clock: then it has ignored SIGXCPU; 0: never */
    bool deaf; /* it has closed its input, and has until the deadline to answer or end */
};

static void replace(struct program *program)
{
    (void)process_end(&program->process);
    buf_clear(&program->in);
}

/* The program is killed; the next item gets a new one. line is what it has written, or
 * nothing. */
static void violate(struct exchange *exchange, struct text line, const char *format, ...)
    PRINTF(3, 4);
static void violate(struct exchange *exchange, struct text line, const char *format, ...)
{
    struct buf message = BUF_INIT;
    char what[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    buf_addf(&message, "the program %s", what);
    if (line.len > 0) {
        buf_add_str(&message, ": ");
        buf_add(&message, line.at, line.len < SHOWN_MAX ? line.len : SHOWN_MAX);
    }
    replace(exchange->program);
    program_fail(exchange->call, FAILURE_PROTOCOL, "ProtocolError",
                 message.failed ? TEXT("out of memory") : buf_text(&message),
                 (struct text){ 0 });
    buf_clear(&message);
}

/* It has ended, or closed its output, without an answer. */
static void conclude(struct exchange *exchange)
{
    struct program *program = exchange->program;
    bool half = program->in.len > 0;
    int status;

    if (!process_ends_within(&program->process, PROGRAM_GRACE_MS)) {
        violate(exchange, (struct text){ 0 },
                "has closed its standard output and goes on");
        return;
    }
    status = process_end(&program->process);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU &&
        exchange->call->cpu_ms > 0) {
        replace(program);
        program_fail_cpu(exchange->call);
        return;
    }
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
        program_follow(program, status);
    violate(exchange, buf_text(&program->in),
            half ? "ended in the middle of a line" : "ended before it had answered");
}

/* ---- lines ------------------------------------------------------------------------- */

/* The first whole line of the input, which stays there. */
static bool find_line(const struct program *program, size_t *scanned,
                      struct text *ret_line)
{
    const struct buf *in = &program->in;
    const char *end =
        in->len > *scanned ? memchr(in->data + *scanned, '\n', in->len - *scanned) : NULL;

    if (!end) {
        *scanned = in->len;
        return false;
    }
    *scanned = 0;
    *ret_line = (struct text){ in->data, (size_t)(end - in->data) };
    return true;
}

static void drop_line(struct program *program, struct text line)
{
    buf_drop_front(&program->in, line.len + 1);
    if (program->in.len == 0 && program->in.cap > KEEP_MAX)
        buf_clear(&program->in);
}

static bool was_sent(const struct program *program, uint64_t id)
{
    return id > 0 && id <= program->id;
}

/* An answer to an item that has one already. */
static void note_second(const struct program *program, uint64_t id)
{
    dprintf(STDERR_FILENO,
            "poold: program %s has answered id %llu again; that is not used\n",
            program->manifest.name, (unsigned long long)id);
}

static void raise_error(struct task_call *call, struct text error)
{
    struct buf exception = BUF_INIT;
    bool is_memory;

    program_line_exception(error, &exception, &is_memory);
    call_fail(call, is_memory ? FAILURE_OUT_OF_MEMORY : FAILURE_TASK,
              exception.failed ? (struct text){ 0 } : buf_text(&exception));
    buf_clear(&exception);
}

static void tell_progress(struct task_call *call, struct text value)
{
    struct program_progress progress;

    if (program_line_progress(value, &progress))
        call_progress(call, progress.current, progress.total,
                      progress.message[0] ? progress.message : NULL);
}

/* Whether the item is over. */
static bool take_answer(struct exchange *exchange, const struct program_answer *answer)
{
    if (answer->id != exchange->program->id) {
        note_second(exchange->program, answer->id);
        return false;
    }
    switch (answer->kind) {
    case PROGRAM_RESULT:
        call_return_text(exchange->call, answer->value);
        return true;
    case PROGRAM_ERROR:
        raise_error(exchange->call, answer->value);
        return true;
    default:
        tell_progress(exchange->call, answer->value);
        return false;
    }
}

/* Whether the item is over. */
static bool take_lines(struct exchange *exchange)
{
    struct program *program = exchange->program;
    struct program_answer answer;
    struct text line;
    const char *why;

    while (find_line(program, &exchange->scanned, &line)) {
        bool over;

        if (!program_line_parse(line, &answer, &why)) {
            violate(exchange, line, "wrote a line %s", why);
            return true;
        }
        if (!was_sent(program, answer.id)) {
            violate(exchange, line, "wrote a line whose id is not one that it was sent");
            return true;
        }
        over = take_answer(exchange, &answer);
        drop_line(program, line);
        if (over)
            return true;
    }
    if (program->in.len <= program->manifest.limits[PROGRAM_LINE])
        return false;
    violate(exchange, (struct text){ 0 }, "wrote a line of more than %llu bytes",
            (unsigned long long)program->manifest.limits[PROGRAM_LINE]);
    return true;
}

/* ---- waiting ----------------------------------------------------------------------- */

/* Reads once and looks at it; whether the item is over. */
static bool read_answer(struct exchange *exchange, bool has_ended)
{
    struct program *program = exchange->program;

    switch (program_read(program->process.out, &program->in)) {
    case READ_SOME:
        return take_lines(exchange);
    case READ_NOTHING:
        if (!has_ended)
            return false;
        conclude(exchange); /* and somebody else holds its output */
        return true;
    case READ_END:
        conclude(exchange);
        return true;
    default:
        replace(program);
        call_raise(exchange->call, "MemoryError", "out of memory for the answer");
        return true;
    }
}

static void send_more(struct exchange *exchange)
{
    struct program *program = exchange->program;

    if (program_write(program->process.in, buf_text(&program->request), &exchange->sent))
        return;
    exchange->sent = program->request.len;
    exchange->deaf = true;
    exchange->deadline_ns = clock_mono_ns() + PROGRAM_GRACE_MS * NS_PER_MS;
}

static void end_late(struct exchange *exchange)
{
    if (exchange->deaf) {
        violate(exchange, (struct text){ 0 },
                "has closed its standard input and goes on");
        return;
    }
    replace(exchange->program);
    program_fail_time(exchange->call);
}

/* The kernel sends SIGXCPU when the time is over, in whole seconds, by the clock of the
 * process: so it is granted anew for each item. Who ignores that is killed a second later. */
static void grant_cpu(struct exchange *exchange)
{
    struct program *program = exchange->program;
    int64_t cpu_ms = exchange->call->cpu_ms;

    if (cpu_ms == 0 && !program->granted)
        return;
    (void)limits_grant_cpu(program->process.pid, cpu_ms);
    program->granted = cpu_ms > 0;
    if (cpu_ms > 0)
        exchange->cpu_end_ms = process_cpu_ms(&program->process) + cpu_ms + CPU_GRACE_MS;
}

/* Milliseconds until there may be something to do even if the program says nothing. */
static int patience_ms(const struct exchange *exchange)
{
    int ms = program_ms_left(exchange->deadline_ns);
    int64_t cpu_ms;

    if (exchange->cpu_end_ms == 0)
        return ms;
    cpu_ms = exchange->cpu_end_ms - process_cpu_ms(&exchange->program->process);
    cpu_ms = cpu_ms < 1 ? 1 : cpu_ms;
    return ms == -1 || cpu_ms < ms ? (int)(cpu_ms < INT_MAX ? cpu_ms : INT_MAX) : ms;
}

/* Nothing came for as long as that: whether the item is over. */
static bool lose_patience(struct exchange *exchange)
{
    struct program *program = exchange->program;

    if (program_ms_left(exchange->deadline_ns) == 0) {
        end_late(exchange);
        return true;
    }
    if (exchange->cpu_end_ms == 0 ||
        process_cpu_ms(&program->process) < exchange->cpu_end_ms)
        return false;
    replace(program);
    program_fail_cpu(exchange->call);
    return true;
}

static void wait_for_answer(struct exchange *exchange)
{
    struct program *program = exchange->program;
    bool over = false;

    while (!over) {
        struct pollfd wait[] = {
            { .fd = program->process.out, .events = POLLIN },
            { .fd = program->process.pidfd, .events = POLLIN },
            { .fd = exchange->sent < program->request.len ? program->process.in : -1,
              .events = POLLOUT },
        };
        int n = poll(wait, 3, patience_ms(exchange));

        if (n == 0)
            over = lose_patience(exchange);
        if (n <= 0)
            continue;
        if (wait[2].revents)
            send_more(exchange);
        /* Read after it has been seen that it has ended: then nothing more can come. */
        if (wait[0].revents || wait[1].revents)
            over = read_answer(exchange, wait[1].revents != 0);
    }
}

/* ---- the item ---------------------------------------------------------------------- */

/* What it has said since the last item. False: it is of no use any more. */
static bool is_sound(struct program *program)
{
    struct program_answer answer;
    size_t scanned = 0;
    struct text line;
    const char *why;
    enum program_read got;

    while ((got = program_read(program->process.out, &program->in)) == READ_SOME) {
        if (program->in.len > program->manifest.limits[PROGRAM_LINE])
            return false;
        while (find_line(program, &scanned, &line)) {
            if (!program_line_parse(line, &answer, &why) || !was_sent(program, answer.id))
                return false;
            note_second(program, answer.id);
            drop_line(program, line);
        }
    }
    return got == READ_NOTHING;
}

static bool make_ready(struct exchange *exchange)
{
    static const struct process_options options = { 0 };
    struct program *program = exchange->program;
    struct error_text err = { "" };

    if (program->process.pid > 0) {
        if (is_sound(program))
            return true;
        dprintf(STDERR_FILENO,
                "poold: program %s has ended or said what nobody asked; started anew\n",
                program->manifest.name);
        replace(program);
    }
    program->granted = false;
    if (process_start(&program->manifest, &options, &program->process, &err) == ST_OK)
        return true;
    program_fail_start(exchange->call, errno, &err);
    return false;
}

static void run(struct exchange *exchange)
{
    struct task_call *call = exchange->call;
    struct program *program = exchange->program;

    if (!make_ready(exchange))
        return;
    buf_reset(&program->request);
    program_line_request(&program->request, ++program->id, call->positional, call->kwargs,
                         call->trace);
    buf_add_char(&program->request, '\n');
    if (program->request.failed) {
        call_raise(call, "MemoryError", "out of memory for the request");
        return;
    }
    exchange->deadline_ns = program_deadline(program);
    grant_cpu(exchange);
    send_more(exchange);
    wait_for_answer(exchange);
}

void program_run_persistent(struct task_call *call)
{
    struct exchange exchange = { .call = call, .program = call->task->data };
    struct buf *request = &exchange.program->request;
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);

    run(&exchange);
    if (request->cap > KEEP_MAX)
        buf_clear(request);
    signal(SIGPIPE, before);
}
