/* SPDX-License-Identifier: MIT */
/*
 * thumbnails - a task in C that does real work: decodes a picture, makes it smaller, writes it.
 * On libvips (https://www.libvips.org), which reads and writes most formats there are.
 *
 *     thumbnail(filename, folder, size)
 *         -> {"filename": "a.jpg", "success": true, "elapsed": 0.0123,
 *             "message": "4000x3000 -> 256x192"}
 *
 * One item of a map is one file, and one worker takes one file at a time. A file that cannot be
 * read is an answer like the others, with success false and the reason: what is to be done
 * about it is the caller's business, and the rest of the batch goes on. See README.md.
 */
#include <poold/task.h>

#include <jansson.h>
#include <time.h>
#include <vips/vips.h>

#define SIZE_MAX_PIXELS 10000

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* In the worker, when it gets its first picture: a library that has threads of its own does
 * not survive the fork of a worker. There are as many workers as processors, so one thread
 * each is enough, and no picture comes twice. */
static bool start_vips(struct poold_call *call)
{
    static bool started;

    if (started)
        return true;
    if (VIPS_INIT("poold") != 0) {
        poold_raise(call, "RuntimeError", "libvips does not start: %s",
                    vips_error_buffer());
        return false;
    }
    vips_concurrency_set(1);
    vips_cache_set_max(0);
    started = true;
    return true;
}

/* Into *ret_message, which the caller frees with g_free, either way. */
static bool make_thumbnail(const char *filename, const char *folder, int size,
                           char **ret_message)
{
    char *name = g_path_get_basename(filename);
    char *target = g_build_filename(folder, name, NULL);
    VipsImage *original = vips_image_new_from_file(filename, NULL), *small = NULL;
    bool ok;

    /* The picture is opened a second time, as JPEG can be decoded at a fraction of its size. */
    ok = original &&
         vips_thumbnail(filename, &small, size, "height", size, "size", VIPS_SIZE_DOWN,
                        "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL) == 0 &&
         vips_image_write_to_file(small, target, NULL) == 0;
    if (ok)
        *ret_message =
            g_strdup_printf("%dx%d -> %dx%d", vips_image_get_width(original),
                            vips_image_get_height(original), vips_image_get_width(small),
                            vips_image_get_height(small));
    else
        *ret_message = g_strstrip(g_strdup(vips_error_buffer()));
    vips_error_clear();
    g_clear_object(&small);
    g_clear_object(&original);
    g_free(target);
    g_free(name);
    return ok;
}

static struct json_t *run_thumbnail(struct poold_call *call, const json_t *args,
                                    const json_t *kwargs)
{
    const json_t *filename = json_array_get(args, 0), *folder = json_array_get(args, 1);
    json_int_t size = json_integer_value(json_array_get(args, 2));
    double start = now_s();
    char *message, *text;
    json_t *answer;
    bool ok;

    (void)kwargs;
    if (!json_is_string(filename) || !json_is_string(folder)) {
        poold_raise(call, "TypeError", "filename and folder must be strings");
        return NULL;
    }
    if (size < 1 || size > SIZE_MAX_PIXELS) {
        poold_raise(call, "ValueError", "size must be 1 to %d pixels", SIZE_MAX_PIXELS);
        return NULL;
    }
    if (!start_vips(call))
        return NULL;
    ok = make_thumbnail(json_string_value(filename), json_string_value(folder), (int)size,
                        &message);
    text = g_utf8_make_valid(message, -1);
    answer = json_pack("{s:O, s:b, s:f, s:s}", "filename", filename, "success", ok,
                       "elapsed", now_s() - start, "message", text);
    g_free(text);
    g_free(message);
    if (!answer)
        poold_raise(call, "MemoryError", "out of memory");
    return answer;
}

static const struct poold_task thumbnail = {
    .name = "thumbnail",
    .summary = "Writes a picture into a folder, at most `size` pixels wide and high.",
    .signature = "thumbnail(filename, folder, size)",
    .params = { "filename", "folder", "size" },
    .value = run_thumbnail,
};

POOLD_PLUGIN(&thumbnail);
