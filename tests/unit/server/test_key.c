/* SPDX-License-Identifier: MIT */
#include "server/key.h"

#include "server/key_file.h"
#include "server/key_json.h"
#include "server/keys.h"

#include "common/clock.h"
#include "common/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_MS 1700000000000

static struct key key_plan(const char *name, unsigned scopes)
{
    struct key key = { .scopes = scopes, .created_at_ms = NOW_MS };

    (void)snprintf(key.name, sizeof(key.name), "%s", name);
    return key;
}

static bool opens(const struct key *key, const char *text, int64_t now_ms)
{
    struct key_claim claim;

    return key_read(text, &claim) == ST_OK && claim.id == key->id &&
           key_holds(key, &claim, now_ms);
}

/* ---- one key ----------------------------------------------------------------------- */

static void a_key_opens_with_its_own_text_only(void **state)
{
    struct key key = key_plan("ci", SCOPE_READ), other = key_plan("ci", SCOPE_READ);
    char text[KEY_TEXT_LEN + 1], others[KEY_TEXT_LEN + 1];
    struct key_claim claim;

    (void)state;
    assert_int_equal(key_make(&key, text), ST_OK);
    assert_int_equal(key_make(&other, others), ST_OK);
    assert_int_equal(strlen(text), KEY_TEXT_LEN);
    assert_memory_equal(text, KEY_PREFIX, strlen(KEY_PREFIX));
    assert_true(key.id != other.id);
    assert_true(opens(&key, text, NOW_MS));
    assert_int_equal(key_read(others, &claim), ST_OK);
    assert_false(key_holds(&key, &claim, NOW_MS));
    assert_false(key_holds(NULL, &claim, NOW_MS));
}

static void a_text_that_was_changed_anywhere_is_no_key(void **state)
{
    struct key key = key_plan("ci", SCOPE_READ);
    char text[KEY_TEXT_LEN + 2];
    struct key_claim claim;

    (void)state;
    assert_int_equal(key_make(&key, text), ST_OK);
    for (size_t i = 0; i < KEY_TEXT_LEN; i++) {
        char was = text[i];

        text[i] = was == '0' ? '1' : '0';
        assert_int_equal(key_read(text, &claim), ST_INVALID);
        text[i] = was >= 'a' ? (char)(was - 'a' + 'A') : 'x';
        assert_int_equal(key_read(text, &claim), ST_INVALID);
        text[i] = was;
    }
    strcpy(text + KEY_TEXT_LEN, "0");
    assert_int_equal(key_read(text, &claim), ST_INVALID);
    text[KEY_TEXT_LEN - 1] = '\0';
    assert_int_equal(key_read(text, &claim), ST_INVALID);
    assert_int_equal(key_read("", &claim), ST_INVALID);
}

static void a_key_holds_until_it_expires(void **state)
{
    struct key key = key_plan("ci", SCOPE_READ);
    char text[KEY_TEXT_LEN + 1];

    (void)state;
    key.expires_at_ms = NOW_MS + 10;
    assert_int_equal(key_make(&key, text), ST_OK);
    assert_true(opens(&key, text, NOW_MS + 9));
    assert_false(opens(&key, text, NOW_MS + 10));
}

static void a_rotated_key_opens_with_both_secrets_for_a_while(void **state)
{
    struct key key = key_plan("ci", SCOPE_READ);
    char before[KEY_TEXT_LEN + 1], after[KEY_TEXT_LEN + 1];
    uint64_t id;

    (void)state;
    assert_int_equal(key_make(&key, before), ST_OK);
    id = key.id;
    assert_int_equal(key_rotate(&key, NOW_MS + 10, after), ST_OK);
    assert_true(key.id == id);
    assert_true(opens(&key, after, NOW_MS + 10));
    assert_true(opens(&key, before, NOW_MS + 9));
    assert_false(opens(&key, before, NOW_MS + 10));
    assert_int_equal(key_rotate(&key, 0, before), ST_OK);
    assert_false(opens(&key, after, NOW_MS));
}

static void patterns_say_which_tasks_may_run(void **state)
{
    struct key key = key_plan("ci", SCOPE_SUBMIT);

    (void)state;
    assert_true(key_may_run(&key, "square"));
    key.task_count = 2;
    strcpy(key.tasks[0], "images:*");
    strcpy(key.tasks[1], "square");
    assert_true(key_may_run(&key, "images:thumbnail"));
    assert_true(key_may_run(&key, "images:"));
    assert_true(key_may_run(&key, "square"));
    assert_false(key_may_run(&key, "squares"));
    assert_false(key_may_run(&key, "my_images:thumbnail"));
    assert_false(key_may_run(&key, ""));
}

static void scopes_names_and_patterns_are_checked(void **state)
{
    (void)state;
    assert_int_equal(key_scopes_parse("submit"), SCOPE_SUBMIT);
    assert_int_equal(key_scopes_parse("read,cancel,admin"),
                     SCOPE_READ | SCOPE_CANCEL | SCOPE_ADMIN);
    assert_int_equal(key_scopes_parse(""), 0);
    assert_int_equal(key_scopes_parse("submit,"), 0);
    assert_int_equal(key_scopes_parse("submit,all"), 0);
    assert_null(key_name_check("ci.prod@host:1-2_3"));
    assert_non_null(key_name_check(""));
    assert_non_null(key_name_check("a b"));
    assert_non_null(key_name_check("\"x\""));
    assert_null(key_task_check("images:*"));
    assert_non_null(key_task_check("[a-z]"));
    assert_non_null(key_task_check(""));
}

/* ---- JSON -------------------------------------------------------------------------- */

static void a_key_comes_back_from_its_record(void **state)
{
    struct key key = key_plan("ci", SCOPE_SUBMIT | SCOPE_CANCEL), back;
    char text[KEY_TEXT_LEN + 1], again[KEY_TEXT_LEN + 1];
    struct buf out = BUF_INIT;
    json_t *saved;

    (void)state;
    key.task_count = 1;
    strcpy(key.tasks[0], "images:*");
    key.expires_at_ms = NOW_MS + 1;
    key.rate = 5;
    key.max_queued = 6;
    key.max_queued_bytes = 7;
    assert_int_equal(key_make(&key, text), ST_OK);
    assert_int_equal(key_rotate(&key, NOW_MS, again), ST_OK);
    saved = key_save(&key);
    assert_non_null(saved);
    assert_int_equal(key_load(saved, &back), ST_OK);
    assert_memory_equal(&back, &key, sizeof(key));
    key_write(&out, &key);
    assert_non_null(strstr(out.data, "\"scopes\":[\"submit\",\"cancel\"]"));
    assert_null(strstr(out.data, "sha256"));
    buf_clear(&out);
    json_object_set_new(saved, "name", json_string("a b"));
    assert_int_equal(key_load(saved, &back), ST_CORRUPT);
    json_object_set_new(saved, "name", json_string("ci"));
    json_object_set_new(saved, "more", json_true());
    assert_int_equal(key_load(saved, &back), ST_CORRUPT);
    json_decref(saved);
}

static void assert_refused(const char *body, const char *pointer)
{
    struct refusal refusal;
    struct key key;

    assert_int_equal(key_json_parse((struct text){ body, strlen(body) }, false,
                                    SLICE_DEPTH_MAX, NOW_MS, &key, &refusal),
                     ST_INVALID);
    if (pointer)
        assert_non_null(strstr(refusal.errors.data, pointer));
    refusal_clear(&refusal);
}

static void a_request_for_a_key_is_read(void **state)
{
    static const char body[] =
        "{\"name\":\"ci\",\"scopes\":[\"read\",\"submit\"],\"tasks\":[\"a*\"],"
        "\"expires_in\":1.5,\"rate\":null,\"max_queued\":2,\"max_queued_bytes\":3}";
    struct refusal refusal;
    int64_t keep_ms;
    struct key key;

    (void)state;
    assert_int_equal(key_json_parse((struct text){ body, sizeof(body) - 1 }, false,
                                    SLICE_DEPTH_MAX, NOW_MS, &key, &refusal),
                     ST_OK);
    refusal_clear(&refusal);
    assert_string_equal(key.name, "ci");
    assert_int_equal(key.scopes, SCOPE_READ | SCOPE_SUBMIT);
    assert_string_equal(key.tasks[0], "a*");
    assert_true(key.expires_at_ms == NOW_MS + 1500);
    assert_int_equal(key.rate, 0);
    assert_int_equal(key.max_queued, 2);
    assert_int_equal(key.max_queued_bytes, 3);
    assert_refused("{}", "#/name");
    assert_refused("{\"name\":\"ci\",\"scopes\":[]}", "#/scopes");
    assert_refused("{\"name\":\"ci\",\"scopes\":[\"read,admin\"]}", "#/scopes/0");
    assert_refused("{\"name\":\"c i\",\"scopes\":[\"read\"]}", "#/name");
    assert_refused("{\"name\":\"c\",\"scopes\":[\"read\"],\"tasks\":[\"[\"]}",
                   "#/tasks/0");
    assert_refused("{\"name\":\"c\",\"scopes\":[\"read\"],\"rate\":0}", "#/rate");
    assert_refused("{\"name\":\"c\",\"scopes\":[\"read\"],\"more\":0}", "#/more");
    assert_refused("[", NULL);
    assert_int_equal(key_json_parse_rotation(TEXT("{\"keep_old\":2}"), false,
                                             SLICE_DEPTH_MAX, &keep_ms, &refusal),
                     ST_OK);
    assert_int_equal(keep_ms, 2000);
    refusal_clear(&refusal);
    assert_int_equal(key_json_parse_rotation(TEXT("{\"name\":\"x\"}"), false,
                                             SLICE_DEPTH_MAX, &keep_ms, &refusal),
                     ST_INVALID);
    refusal_clear(&refusal);
}

/* ---- the file ---------------------------------------------------------------------- */

struct rig {
    char dir[64];
    uv_loop_t loop;
    struct keys *keys;
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig)
        return -1;
    strcpy(rig->dir, "/tmp/poold-test-key-XXXXXX");
    *state = rig;
    return mkdtemp(rig->dir) && uv_loop_init(&rig->loop) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    char command[128];

    clock_fake(0, 0);
    keys_free(rig->keys);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
    assert_int_equal(system(command), 0);
    free(rig);
    return 0;
}

static const char *path_of(const struct rig *rig)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/" KEY_FILE_NAME, rig->dir);
    return path;
}

static uint64_t add(struct rig *rig, const char *name, char text[KEY_TEXT_LEN + 1])
{
    struct key key = key_plan(name, SCOPE_READ);
    struct error_text err = { "" };

    key.rate = 2;
    assert_int_equal(key_file_add(rig->dir, true, &key, text, &err), ST_OK);
    return key.id;
}

static void the_file_keeps_keys_and_no_secrets(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1], other[KEY_TEXT_LEN + 1], content[4096] = "";
    struct error_text err = { "" };
    struct key_list list;
    struct stat info;
    struct key key = key_plan("two", SCOPE_READ);
    uint64_t one, two;
    int fd;

    assert_false(key_file_exists(rig->dir));
    assert_int_equal(key_file_read(rig->dir, &list, &err), ST_NOT_FOUND);
    one = add(rig, "one", text);
    two = add(rig, "two", other);
    assert_int_equal(stat(path_of(rig), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    fd = open(path_of(rig), O_RDONLY);
    assert_true(read(fd, content, sizeof(content) - 1) > 0);
    close(fd);
    text[KEY_TEXT_LEN - 8] = '\0';
    assert_null(strstr(content, text + 23));
    assert_int_equal(key_file_add(rig->dir, true, &key, text, &err), ST_EXISTS);
    assert_int_equal(key_file_revoke(rig->dir, true, "nobody", &key, &err), ST_NOT_FOUND);
    assert_int_equal(key_file_revoke(rig->dir, true, "two", &key, &err), ST_OK);
    assert_true(key.id == two);
    assert_int_equal(key_file_read(rig->dir, &list, &err), ST_OK);
    assert_int_equal(list.count, 1);
    assert_non_null(key_list_find(&list, one));
    assert_null(key_list_find(&list, two));
    key_list_clear(&list);
}

static void a_file_that_is_damaged_or_open_to_others_is_refused(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1];
    struct error_text err = { "" };
    struct key_list list;
    FILE *file;

    add(rig, "one", text);
    assert_int_equal(chmod(path_of(rig), 0620), 0);
    assert_int_equal(key_file_read(rig->dir, &list, &err), ST_DENIED);
    assert_int_equal(chmod(path_of(rig), 0600), 0);
    file = fopen(path_of(rig), "w");
    fputs("{\"version\":1,\"keys\":[{}]}", file);
    fclose(file);
    assert_int_equal(key_file_read(rig->dir, &list, &err), ST_CORRUPT);
    assert_non_null(strstr(err.text, KEY_FILE_NAME));
    assert_int_equal(keys_new(&rig->loop, rig->dir, &rig->keys, &err), ST_CORRUPT);
}

static void without_memory_the_file_stays_as_it_is(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1], more[KEY_TEXT_LEN + 1];
    struct error_text err = { "" };
    struct key_list list;
    bool failed = true;

    add(rig, "one", text);
    for (unsigned n = 1; failed; n++) {
        struct key key = key_plan("two", SCOPE_READ);
        enum status st;

        mem_fail_at(n, 0);
        st = key_file_add(rig->dir, true, &key, more, &err);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(st, failed ? ST_NO_MEMORY : ST_OK);
        assert_int_equal(key_file_read(rig->dir, &list, &err), ST_OK);
        assert_int_equal(list.count, failed ? 1 : 2);
        key_list_clear(&list);
    }
}

/* ---- the running server ------------------------------------------------------------ */

static void open_keys(struct rig *rig)
{
    struct error_text err = { "" };

    assert_int_equal(keys_new(&rig->loop, rig->dir, &rig->keys, &err), ST_OK);
}

static void changes_of_the_file_are_noticed(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1], other[KEY_TEXT_LEN + 1];
    struct error_text err = { "" };
    struct key key;
    uint64_t id;

    open_keys(rig);
    assert_false(keys_required(rig->keys));
    id = add(rig, "one", text);
    assert_false(keys_required(rig->keys));
    keys_look(rig->keys);
    assert_true(keys_required(rig->keys));
    assert_true(keys_verify(rig->keys, text)->id == id);
    assert_int_equal(key_file_rotate(rig->dir, true, "one", 0, &key, other, &err), ST_OK);
    keys_look(rig->keys);
    assert_null(keys_verify(rig->keys, text));
    assert_non_null(keys_verify(rig->keys, other));
    assert_int_equal(key_file_revoke(rig->dir, true, "one", &key, &err), ST_OK);
    keys_look(rig->keys);
    assert_null(keys_verify(rig->keys, other));
    assert_true(keys_required(rig->keys));
}

static void without_the_file_no_key_holds_and_all_still_need_one(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1];

    add(rig, "one", text);
    open_keys(rig);
    assert_non_null(keys_verify(rig->keys, text));
    assert_int_equal(unlink(path_of(rig)), 0);
    keys_look(rig->keys);
    assert_true(keys_required(rig->keys));
    assert_null(keys_verify(rig->keys, text));
}

static void a_damaged_file_changes_nothing(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1];
    FILE *file;

    add(rig, "one", text);
    open_keys(rig);
    file = fopen(path_of(rig), "w");
    fputs("{", file);
    fclose(file);
    keys_look(rig->keys);
    assert_non_null(keys_verify(rig->keys, text));
}

static void a_key_gets_its_rate_and_no_more(void **state)
{
    struct rig *rig = *state;
    char text[KEY_TEXT_LEN + 1], more[KEY_TEXT_LEN + 1];
    struct allowance allowance;
    const struct key *key;

    add(rig, "one", text); /* two in a second */
    open_keys(rig);
    clock_fake(NS_PER_SEC, NOW_MS);
    key = keys_verify(rig->keys, text);
    assert_true(keys_take(rig->keys, key, &allowance));
    assert_int_equal(allowance.rate, 2);
    assert_int_equal(allowance.remaining, 1);
    assert_true(keys_take(rig->keys, key, &allowance));
    assert_int_equal(allowance.remaining, 0);
    assert_false(keys_take(rig->keys, key, &allowance));
    add(rig, "another", more); /* and it is not full again for that */
    keys_look(rig->keys);
    key = keys_verify(rig->keys, text);
    assert_false(keys_take(rig->keys, key, &allowance));
    clock_fake(NS_PER_SEC + NS_PER_SEC / 2, NOW_MS);
    assert_true(keys_take(rig->keys, key, &allowance));
    assert_false(keys_take(rig->keys, key, &allowance));
    clock_fake(100 * NS_PER_SEC, NOW_MS);
    assert_true(keys_take(rig->keys, key, &allowance));
    assert_true(keys_take(rig->keys, key, &allowance));
    assert_false(keys_take(rig->keys, key, &allowance));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        cmocka_unit_test(a_key_opens_with_its_own_text_only),
        cmocka_unit_test(a_text_that_was_changed_anywhere_is_no_key),
        cmocka_unit_test(a_key_holds_until_it_expires),
        cmocka_unit_test(a_rotated_key_opens_with_both_secrets_for_a_while),
        cmocka_unit_test(patterns_say_which_tasks_may_run),
        cmocka_unit_test(scopes_names_and_patterns_are_checked),
        cmocka_unit_test(a_key_comes_back_from_its_record),
        cmocka_unit_test(a_request_for_a_key_is_read),
        CASE(the_file_keeps_keys_and_no_secrets),
        CASE(a_file_that_is_damaged_or_open_to_others_is_refused),
        CASE(without_memory_the_file_stays_as_it_is),
        CASE(changes_of_the_file_are_noticed),
        CASE(without_the_file_no_key_holds_and_all_still_need_one),
        CASE(a_damaged_file_changes_nothing),
        CASE(a_key_gets_its_rate_and_no_more),
    };

    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
