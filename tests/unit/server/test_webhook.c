/* SPDX-License-Identifier: MIT */
/* Where callbacks may go, and how they are signed. */
#include "server/webhook.h"

#include "common/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#define ALLOW                                                                            \
    "hooks.example.org, example.com:9443,http://plain.example.org:8000,127.0.0.1:8080,"  \
    "[::1],localhost,10.0.0.7:443"

static void signature_is_that_of_the_known_vector(void **state)
{
    struct webhook_secret secret;
    char signature[WEBHOOK_SIGNATURE_MAX];

    (void)state;
    assert_true(
        webhook_secret_parse(TEXT("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &secret));
    assert_int_equal(webhook_sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                                  TEXT("{\"test\": 2432232314}"), signature),
                     ST_OK);
    assert_string_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void secrets_have_a_prefix_and_24_to_64_bytes(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true },
        { "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false },
        { "whsec_", false },
        { "", false },
        { "whsec_c2hvcnQ=", false },
        { "whsec_not base64!", false },
        { "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false }, /* 23 */
        { "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
          "AAAAAAAAAAAAAA==",
          true }, /* 64 */
        { "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
          "AAAAAAAAAAAAAAA=",
          false }, /* 65 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct webhook_secret secret;
        struct text text = { cases[i].text, strlen(cases[i].text) };

        if (webhook_secret_parse(text, &secret) != cases[i].good)
            fail_msg("\"%s\"", cases[i].text);
    }
}

static void a_made_secret_can_be_read_and_is_another_each_time(void **state)
{
    struct webhook_secret a, b;
    struct buf first = BUF_INIT, second = BUF_INIT;

    (void)state;
    assert_int_equal(webhook_secret_make(&first), ST_OK);
    assert_int_equal(webhook_secret_make(&second), ST_OK);
    assert_true(webhook_secret_parse(buf_text(&first), &a));
    assert_true(webhook_secret_parse(buf_text(&second), &b));
    assert_int_equal(a.len, 32);
    assert_memory_not_equal(a.bytes, b.bytes, a.len);
    buf_clear(&first);
    buf_clear(&second);
}

static void lists_are_checked_entry_by_entry(void **state)
{
    static const char *const good[] = {
        "", "example.org", "a,b", "a, b:1", "http://a", "[::1]:80", "a:65535", "10.0.0.1"
    };
    static const char *const bad[] = { "a:0", "a:65536", "a:",     "a:b", "https://a",
                                       "a/b", "[::1",    "[a]:80", ":80", "http://",
                                       "u@a", "[::1]80", "a,b c/", "*.a", "a:1:2" };

    (void)state;
    assert_null(webhook_allow_check(ALLOW));
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        if (webhook_allow_check(good[i]))
            fail_msg("\"%s\" is refused", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (!webhook_allow_check(bad[i]))
            fail_msg("\"%s\" is accepted", bad[i]);
}

static void urls_are_allowed_by_the_list_alone(void **state)
{
    static const struct {
        const char *url;
        bool any_address;
    } good[] = {
        { "https://hooks.example.org/a?b=c", false },
        { "https://HOOKS.example.org:8443/", false },
        { "https://hooks.example.org:80", false },
        { "https://example.com:9443/", false },
        { "http://plain.example.org:8000/x", false },
        { "https://plain.example.org:8000/x", false },
        { "http://127.0.0.1:8080/", true },
        { "http://[::1]/", true },
        { "http://[0:0:0:0:0:0:0:1]:80/", true },
        { "http://localhost/", true },
        { "https://10.0.0.7/", true },
    };
    static const char *const bad[] = {
        "http://hooks.example.org/",
        "https://hooks.example.org:22/",
        "https://example.com/",
        "https://example.com:443/",
        "http://plain.example.org/",
        "https://example.net/",
        "https://hooks.example.org.evil/",
        "https://hooks.example.org@evil.example/",
        "https://u:p@hooks.example.org/",
        "https://u@hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "gopher://hooks.example.org:443/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8081/",
        "http://10.0.0.7:443/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/",
        "https://hooks.example.org/ x",
        "https://hooks.example.org/\n",
        "https://hooks.example.org/\xc3\xa4",
        "https://",
        "hooks.example.org/x",
        "//hooks.example.org/",
        "",
        "https://hooks.example.org:0/",
    };
    struct webhook_target target;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        const char *refusal = webhook_url_check(good[i].url, ALLOW, &target);

        if (refusal)
            fail_msg("%s %s", good[i].url, refusal);
        assert_int_equal(target.any_address, good[i].any_address);
        assert_non_null(webhook_url_check(good[i].url, NULL, &target));
        assert_non_null(webhook_url_check(good[i].url, "", &target));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (!webhook_url_check(bad[i], ALLOW, &target))
            fail_msg("%s is allowed", bad[i]);
}

static void urls_have_2048_bytes_at_most(void **state)
{
    char url[WEBHOOK_URL_MAX + 2];
    struct webhook_target target;

    (void)state;
    memset(url, 'a', sizeof(url));
    memcpy(url, "https://hooks.example.org/", strlen("https://hooks.example.org/"));
    url[WEBHOOK_URL_MAX] = '\0';
    assert_null(webhook_url_check(url, ALLOW, &target));
    url[WEBHOOK_URL_MAX] = 'a';
    url[WEBHOOK_URL_MAX + 1] = '\0';
    assert_non_null(webhook_url_check(url, ALLOW, &target));
}

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return webhook_address_public((struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return webhook_address_public((struct sockaddr *)&v6);
}

static void addresses_of_private_networks_are_not_public(void **state)
{
    static const char *const private[] = {
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:a00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    };
    static const char *const public[] = {
        "1.1.1.1",         "8.8.8.8",         "9.255.255.255",
        "11.0.0.0",        "100.63.255.255",  "100.128.0.0",
        "126.255.255.255", "128.0.0.1",       "169.253.255.255",
        "172.15.255.255",  "172.32.0.0",      "192.0.1.0",
        "192.167.255.255", "198.17.255.255",  "198.20.0.0",
        "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888",
        "2a00::1",
    };
    struct sockaddr_un local = { .sun_family = AF_UNIX };

    (void)state;
    for (size_t i = 0; i < sizeof(private) / sizeof(*private); i++)
        if (is_public(private[i]))
            fail_msg("%s passes", private[i]);
    for (size_t i = 0; i < sizeof(public) / sizeof(*public); i++)
        if (!is_public(public[i]))
            fail_msg("%s is refused", public[i]);
    assert_false(webhook_address_public((struct sockaddr *)&local));
}

static void the_message_is_thin_and_keeps_what_the_client_sent(void **state)
{
    struct job_spec spec = { .task = "square",
                             .tags = "[\"a\"]",
                             .metadata = "{\"n\": 0.10}" };
    struct job_status status = { .state = JOB_EXPIRED, .finished_at_ms = 1700000000123 };
    struct buf out = BUF_INIT;

    (void)state;
    assert_true(uuid_parse("0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b", 36, &spec.id));
    webhook_write(&out, &spec, &status);
    assert_false(out.failed);
    assert_string_equal(
        out.data,
        "{\"type\":\"job.expired\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"data\":{"
        "\"id\":\"0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b\",\"task\":\"square\",\"state\":"
        "\"expired\",\"tags\":[\"a\"],\"metadata\":{\"n\": 0.10},\"links\":{\"self\":"
        "\"/v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b\",\"result\":"
        "\"/v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b/result\"}}}");
    buf_clear(&out);
}

static void the_message_has_the_trace_of_the_job(void **state)
{
    static const char trace[] =
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01a=\"\\,b=2";
    struct job_spec spec = { .task = "square", .trace = trace };
    struct job_status status = { .state = JOB_SUCCEEDED };
    char found[TRACE_MAX + 1];
    struct buf out = BUF_INIT;

    (void)state;
    webhook_write(&out, &spec, &status);
    assert_true(webhook_trace(out.data, found));
    assert_string_equal(found, trace);
    /* What the client writes is not mistaken for it. */
    spec.trace = NULL;
    spec.tags = "[{\"a\":1,\"traceparent\":"
                "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}]";
    buf_reset(&out);
    webhook_write(&out, &spec, &status);
    assert_false(webhook_trace(out.data, found));
    assert_string_equal(found, "");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_is_that_of_the_known_vector),
        cmocka_unit_test(secrets_have_a_prefix_and_24_to_64_bytes),
        cmocka_unit_test(a_made_secret_can_be_read_and_is_another_each_time),
        cmocka_unit_test(lists_are_checked_entry_by_entry),
        cmocka_unit_test(urls_are_allowed_by_the_list_alone),
        cmocka_unit_test(urls_have_2048_bytes_at_most),
        cmocka_unit_test(addresses_of_private_networks_are_not_public),
        cmocka_unit_test(the_message_is_thin_and_keeps_what_the_client_sent),
        cmocka_unit_test(the_message_has_the_trace_of_the_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
