/* SPDX-License-Identifier: MIT */
/* Tasks that do what a task should not, one at a time; and the whole interface, used well. */
#include <poold/task.h>

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define TASK(task_name)                                                                  \
    static const struct poold_task task_name##_task = { .name = "bad." #task_name,       \
                                                        .summary = "Misbehaves.",        \
                                                        .signature = #task_name "(x)",   \
                                                        .params = { "x" },               \
                                                        .run = task_name }

/* ---- ends that are none (F21, F22) ---- */

static void segv(struct poold_call *call)
{
    (void)call;
    *(volatile int *)8 = 1;
}
TASK(segv);

static void fpe(struct poold_call *call)
{
    volatile int zero = 0;

    poold_return_int64(call, 1 / zero);
    raise(SIGFPE); /* not every machine traps */
}
TASK(fpe);

static void aborts(struct poold_call *call)
{
    (void)call;
    abort();
}
TASK(aborts);

static int deep(volatile char *above)
{
    volatile char here[4096];

    here[0] = above[0];
    return deep(here) + here[0];
}

static void overflow(struct poold_call *call)
{
    volatile char top = 0;

    poold_return_int64(call, deep(&top));
}
TASK(overflow);

static void exit0(struct poold_call *call)
{
    (void)call;
    exit(0);
}
TASK(exit0);

static void _exit0(struct poold_call *call)
{
    poold_return_int64(call, 1); /* not even then */
    _exit(0);
}
TASK(_exit0);

static void thread_exit(struct poold_call *call)
{
    (void)call;
    pthread_exit(NULL);
}
TASK(thread_exit);

static jmp_buf gone;

static __attribute__((noinline)) int leave_a_trace(void)
{
    return setjmp(gone);
}

static void long_jump(struct poold_call *call)
{
    (void)call;
    if (leave_a_trace() == 0)
        longjmp(gone, 1);
    _exit(0); /* where a jump into a frame that is gone comes out is anybody's guess */
}
TASK(long_jump);

/* ---- what it has not to touch (F24, F25) ---- */

static void close_all(struct poold_call *call)
{
    for (int fd = 0; fd < 256; fd++)
        close(fd);
    poold_return_int64(call, 1);
}
TASK(close_all);

static void replace_all(struct poold_call *call)
{
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd < 64; fd++)
        if (fd != null)
            dup2(null, fd);
    poold_return_int64(call, 1);
}
TASK(replace_all);

/* Writes its process id to the file that x names, and stays. */
static void stay(const char *path)
{
    char text[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (fd == -1 || write(fd, text, (size_t)len) != len)
        _exit(1);
    for (;;)
        pause();
}

static void forks(struct poold_call *call)
{
    const char *path = poold_arg_string(call, 0, NULL);

    if (path && fork() == 0)
        stay(path);
    poold_return_int64(call, getpid());
}
TASK(forks);

static void daemonizes(struct poold_call *call)
{
    const char *path = poold_arg_string(call, 0, NULL);

    if (path && fork() == 0) {
        setsid();
        if (fork() == 0)
            stay(path);
        _exit(0);
    }
    poold_return_int64(call, getpid());
}
TASK(daemonizes);

/* ---- results that are none (F29) ---- */

static void nan_result(struct poold_call *call)
{
    poold_return_real(call, NAN);
}
TASK(nan_result);

/* The string x is the result's JSON text; %xx in it is a byte. */
static void text_result(struct poold_call *call)
{
    size_t len, out = 0;
    const char *text = poold_arg_string(call, 0, &len);
    char *json = text ? poold_alloc(call, len + 1) : NULL;

    if (!json)
        return;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%') {
            char digits[3] = { text[i + 1], text[i + 2], '\0' };

            json[out++] = (char)strtoul(digits, NULL, 16);
            i += 2;
        } else {
            json[out++] = text[i];
        }
    }
    poold_return_json(call, json, out);
}
TASK(text_result);

static void string_result(struct poold_call *call)
{
    size_t len;
    const char *text = poold_arg_string(call, 0, &len);

    if (text)
        poold_return_string(call, text, len);
}
TASK(string_result);

static void broken_string(struct poold_call *call)
{
    poold_return_string(call, "a\xff", 2);
}
TASK(broken_string);

static void large(struct poold_call *call)
{
    int64_t len;
    char *text;

    if (!poold_arg_int64(call, 0, &len) || !(text = poold_alloc(call, (size_t)len)))
        return;
    memset(text, 'x', (size_t)len);
    poold_return_string(call, text, (size_t)len);
}
TASK(large);

static void nothing(struct poold_call *call)
{
    (void)call;
}
TASK(nothing);

static void twice(struct poold_call *call)
{
    poold_return_int64(call, 1);
    poold_return_json(call, "no", 2);
    poold_raise(call, "ValueError", "too late");
}
TASK(twice);

static struct json_t *value_circle(struct poold_call *call, const json_t *args,
                                   const json_t *kwargs)
{
    json_t *outer = json_array(), *inner = outer;

    (void)call;
    (void)args;
    (void)kwargs;
    for (int i = 0; i < 100; i++) {
        json_t *more = json_array();

        json_array_append_new(inner, more);
        inner = more;
    }
    return outer;
}
static const struct poold_task value_circle_task = { .name = "bad.deep_value",
                                                     .summary = "Nests too deep.",
                                                     .signature = "deep_value()",
                                                     .value = value_circle };

static struct json_t *value_echo(struct poold_call *call, const json_t *args,
                                 const json_t *kwargs)
{
    (void)call;
    return json_pack("{s:O, s:O}", "args", args, "kwargs", kwargs);
}
static const struct poold_task value_echo_task = {
    .name = "value_echo",
    .summary = "What it was called with.",
    .signature = "value_echo(*args, **kwargs)",
    .value = value_echo,
};

static struct json_t *value_bound(struct poold_call *call, const json_t *args,
                                  const json_t *kwargs)
{
    if (json_is_null(json_array_get(args, 0)))
        poold_raise_with(call, "shop.OutOfStock", "caf\xc3\xa9 \xff", "at line 7");
    return json_pack("[O, i]", args, (int)json_object_size(kwargs));
}
static const struct poold_task value_bound_task = { .name = "value_bound",
                                                    .summary = "Its two parameters.",
                                                    .signature = "value_bound(a, b)",
                                                    .params = { "a", "b" },
                                                    .value = value_bound };

static void raw_echo(struct poold_call *call)
{
    struct poold_text args = poold_args(call), kwargs = poold_kwargs(call);
    char *json = poold_alloc(call, args.len + kwargs.len + 32);
    int len;

    if (!json)
        return;
    len = sprintf(json, " [%.*s,\n%.*s]\n", (int)args.len, args.at, (int)kwargs.len,
                  kwargs.at);
    poold_return_json(call, json, (size_t)len);
}
static const struct poold_task raw_echo_task = {
    .name = "raw_echo",
    .summary = "What it was called with, as it was sent.",
    .signature = "raw_echo(*args, **kwargs)",
    .run = raw_echo,
};

static void wrong_param(struct poold_call *call)
{
    int64_t n;

    if (poold_arg_int64(call, 1, &n))
        poold_return_int64(call, n);
}
TASK(wrong_param);

static void half(struct poold_call *call)
{
    double x;

    if (poold_arg_real(call, 0, &x))
        poold_return_real(call, x / 2);
}
TASK(half);

/* ---- while it runs ---- */

static void logs(struct poold_call *call)
{
    poold_log(call, "looking at %s", "x");
    poold_progress(call, 1, 2, "half");
    poold_raise(call, "ValueError", "no %d", 7);
}
TASK(logs);

/* Memory of every call comes back: this would not fit otherwise. */
static void scratch(struct poold_call *call)
{
    int64_t size;
    char *block;

    if (!poold_arg_int64(call, 0, &size))
        return;
    for (int i = 0; i < 8; i++) {
        block = poold_alloc(call, (size_t)size);
        if (!block)
            return;
        if ((uintptr_t)block % sizeof(long double) != 0)
            poold_raise(call, "ValueError", "not aligned");
        memset(block, 1, (size_t)size);
    }
    poold_return_int64(call, size);
}
TASK(scratch);

static void spin(struct poold_call *call)
{
    (void)call;
    for (volatile unsigned long i = 0;; i++)
        ;
}
TASK(spin);

/* Asks until it is cancelled, and notes in the file x that it was. */
static void listens(struct poold_call *call)
{
    const char *path = poold_arg_string(call, 0, NULL);
    int fd;

    (void)poold_cancelled(call);
    poold_progress(call, 1, 2, "has asked");
    while (path && !poold_cancelled(call))
        usleep(1000);
    fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (fd == -1 || write(fd, "tidied up\n", 10) != 10)
        _exit(1);
    close(fd);
}
TASK(listens);

/* Has asked once, and then does not care. */
static void ignores(struct poold_call *call)
{
    (void)poold_cancelled(call);
    poold_progress(call, 0, 0, "has asked");
    for (;;)
        pause();
}
TASK(ignores);

/* ---- what is not given back (F28) ---- */

static void leak(struct poold_call *call)
{
    int64_t size;
    void *block;

    if (!poold_arg_int64(call, 0, &size))
        return;
    block = malloc((size_t)size);
    if (block)
        memset(block, 1, (size_t)size);
    poold_return_int64(call, getpid());
}
TASK(leak);

static void leak_file(struct poold_call *call)
{
    (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
    poold_return_int64(call, getpid());
}
TASK(leak_file);

POOLD_PLUGIN(&segv_task, &fpe_task, &aborts_task, &overflow_task, &exit0_task,
             &_exit0_task, &thread_exit_task, &long_jump_task, &close_all_task,
             &replace_all_task, &forks_task, &daemonizes_task, &nan_result_task,
             &text_result_task, &string_result_task, &broken_string_task, &large_task,
             &nothing_task, &twice_task, &value_circle_task, &value_echo_task,
             &value_bound_task, &raw_echo_task, &wrong_param_task, &half_task, &logs_task,
             &scratch_task, &spin_task, &listens_task, &ignores_task, &leak_task,
             &leak_file_task);
