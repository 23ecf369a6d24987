#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Requests that are wrong, over raw sockets: what the server answers, and that it stays well.

The rows have the numbers of the table in docs/bad-input.md. Each is sent whole, one byte at a
time, and behind a valid request on the same connection. Behind each the server is as well as before it,
and its log has one line for each request that it has answered.
"""

import signal
import sys
import threading
import time

import wire
from wire import answered, closed, get, library, post, refused

JOB = '{"task":"square","args":[3]}'
UNKNOWN = "01900000-0000-7000-8000-000000000000"
ONCE = ("whole",)
# A body behind headers that end a connection would be read as the next request.
ALONE = ("whole", "bytes")


def rows_of_http(suite):
    row = suite.row
    row(1, "HTTP/1.1 without Host", get("/healthz", host=None), library(400))
    row(2, "two headers Host", get("/healthz", "Host: other"), refused(400, slug="bad-request"))
    row(3, "a Host that the server does not go by", get("/healthz", host="evil.example"),
        refused(421, slug="unknown-host"))
    row(4, "HTTP/0.9", b"GET /healthz\r\n\r\n", library(400, 505, begun=False))
    row(4, "HTTP/2.0", get("/healthz", version="HTTP/2.0"), library(400, 505, begun=False))
    row(4, "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        library(400, 505, begun=False))
    row(5, "HTTP/1.9", get("/healthz", version="HTTP/1.9"),
        refused(505, slug="version-not-supported"))
    hello = bytes.fromhex("160301020001000200fc0303" + "5a" * 500)
    row(6, "a TLS hello on a plain port", hello + b"\r\n\r\n", library(400, 505, begun=False),
        ways=ONCE, half_close=True)
    row(6, "random bytes", bytes(range(128, 256)) * 2 + b"\r\n\r\n",
        library(400, 505, begun=False), ways=ONCE, half_close=True)


def rows_of_length(suite):
    row = suite.row
    bad = refused(400, slug="bad-request")
    chunked = b"1c\r\n" + JOB.encode() + b"\r\n0\r\n\r\n"
    row(7, "Content-Length and Transfer-Encoding",
        post("/v1/apply", JOB, "Transfer-Encoding: chunked"), bad)
    row(8, "two Content-Length, the same", post("/v1/apply", JOB, "Content-Length: 28"), bad)
    row(8, "two Content-Length, different", post("/v1/apply", JOB, "Content-Length: 5"), bad)
    for value in ("2, 2", "-1", "+2", "0x2", ""):
        row(9, f"Content-Length {value!r}", post("/v1/apply", JOB, length=value), library(400, 413),
            ways=ALONE, half_close=True)
    row(10, "a Content-Length of 23 digits", post("/v1/apply", JOB, length="9" * 23),
        library(400, 413))
    row(11, "Content-Length 2^64-1", post("/v1/apply", JOB, length=str(2 ** 64 - 1)),
        refused(413, slug="body-too-large"))
    for what, more in (("", ()), (" and Expect", ("Expect: 100-continue",))):
        row(12, f"Content-Length one above the limit{what}",
            post("/v1/apply", b"", *more, length="100001"), refused(413, slug="body-too-large"))
    row(13, "a space before the colon of Content-Length",
        get("/v1/apply", "Content-Length : 28", "Content-Type: application/json", method="POST") +
        JOB.encode(), bad)
    row(14, "a space before the colon of Transfer-Encoding",
        get("/v1/apply", "Transfer-Encoding : chunked", method="POST") + chunked, bad)
    for value in ("xchunked", "identity", "gzip, chunked", "chunked, chunked"):
        row(15, f"Transfer-Encoding {value!r}",
            get("/v1/apply", f"Transfer-Encoding: {value}", method="POST") + chunked, bad)
    row(16, "Transfer-Encoding twice",
        get("/v1/apply", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
            method="POST") + chunked, bad)
    row(17, "Transfer-Encoding in HTTP/1.0",
        get("/v1/apply", "Transfer-Encoding: chunked", method="POST", version="HTTP/1.0") + chunked,
        bad)
    begin = get("/v1/apply", "Transfer-Encoding: chunked", "Content-Type: application/json",
                method="POST")
    for size in ("zz", "-2", "0x2"):
        row(18, f"a chunk of the size {size}", begin + f"{size}\r\nab\r\n0\r\n\r\n".encode(),
            library(400))
    row(19, "a chunk of a size that overflows", begin + b"f" * 20 + b"\r\nab\r\n0\r\n\r\n",
        library(400, 413))
    row(20, "a chunk extension, and trailers", begin + b"1c;a=b\r\n" + JOB.encode() +
        b"\r\n0\r\nX-Trailer: a\r\n\r\n", answered(200))
    big = b"".join(b"2710\r\n" + b"x" * 10000 + b"\r\n" for _ in range(11)) + b"0\r\n\r\n"
    row(21, "a chunked body over the limit", begin + big, refused(413, slug="body-too-large"),
        ways=("whole", "behind"))


def rows_of_headers(suite):
    row = suite.row
    bad = refused(400, slug="bad-request")
    row(22, "lines that end with a bare LF",
        get("/healthz").replace(b"\r\n", b"\n"), answered(200, 400))
    row(22, "a bare CR in a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        bad, half_close=True)
    row(23, "a folded header",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\n\r\n", answered(200, 400))
    row(24, "NUL in a header's value",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n", answered(200, 400))
    row(24, "NUL in a header's name",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\0A: a\r\n\r\n", library(400))
    for name in ("X A", "X(A)", "X\x80A", "X@A"):
        row(25, f"a header named {name!a}", get("/healthz", f"{name}: a"), bad)
    row(25, "a control byte in a value", get("/healthz", "X-A: a\x01b"), bad)
    row(52, "two headers Authorization, the same",
        get("/v1/info", "Authorization: Bearer a", "Authorization: Bearer a"), bad)
    row(52, "two headers Authorization, different",
        get("/v1/info", "Authorization: Bearer a", "Authorization: Basic b"), bad)
    row(26, "a header without a colon", get("/healthz", "nonsense"), library(400))
    few = [f"X-{i}: a" for i in range(63)]  # and Host
    row(27, "64 headers", get("/healthz", *few), answered(200))
    row(27, "65 headers", get("/healthz", *few, "X-One-More: a"),
        refused(431, slug="headers-too-large"))
    row(27, "1,000 headers", get("/healthz", *[f"X-{i}: {'a' * 30}" for i in range(1000)]),
        library(431), ways=ONCE)
    row(27, "a header of 8,192 bytes", get("/healthz", "X-A: " + "a" * 8192), answered(200))
    row(27, "a header of 8,193 bytes", get("/healthz", "X-A: " + "a" * 8193),
        refused(431, slug="headers-too-large"), ways=("whole", "behind"))
    row(27, "a header of 40 KB", get("/healthz", "X-A: " + "a" * 40000), library(431), ways=ONCE)


def rows_of_targets(suite):
    row = suite.row
    bad = refused(400, slug="invalid-uri")
    row(28, "a target of 2,048 bytes", get("/healthz?" + "a" * 2039), answered(200, 400))
    row(28, "a target of 2,049 bytes", get("/healthz?" + "a" * 2040),
        refused(414, slug="uri-too-long"))
    row(28, "a target of 40 KB", get("/" + "a" * 40000), library(414, 431, begun=False),
        ways=ONCE)
    row(28, "a method of 40 KB", get("/", method="A" * 40000), library(414, 431, begun=False),
        ways=ONCE)
    row(29, "a space in the target", get("/health z"), library(400, begun=False))
    for target in ("http://localhost/healthz", "healthz", "*"):
        row(30, f"the target {target}", get(target), bad)
    for target in ("/healthz%00", "/v1/%2e%2e/healthz", "/v1/../healthz", "//healthz", "/v1/./jobs",
                   "/v1/jobs%2fx", "/v1%5cjobs"):
        row(31, f"the target {target}", get(target), bad)
    for target in ("/%zz", "/%c0%af", "/\x80", "/%", "/%2"):
        row(32, f"the target {target!a}", get(target), bad)
    for target in ("/nonsense", "/v1/jobs/", "/V1/jobs"):
        row(33, f"the unknown path {target}", get(target), answered(404, slug="not-found"))
    row(34, "a method that the path has not", get("/v1/apply"),
        lambda answer: answered(405, slug="method-not-allowed")(answer) and answer.has_header("Allow"))
    for method in ("get", "BREW", "G-E_T!"):
        row(34, f"the method {method}", get("/healthz", method=method),
            refused(501, slug="not-implemented"))
    for method in ("TRACE", "CONNECT"):
        row(35, method, get("/healthz", method=method), answered(405, slug="method-not-allowed"))
    row(36, "HEAD", get("/healthz", method="HEAD"),
        lambda answer: answered(200)(answer) and answer.data.endswith(b"\r\n\r\n"))
    row(37, "OPTIONS", get("/v1/apply", method="OPTIONS"),
        lambda answer: answered(204)(answer) and answer.has_header("Allow") and
        not answer.has_header("Access-Control-Allow-Origin"))
    for size, expected in ((65535, answered(200)), (65536, answered(200)),
                           (65537, refused(413, slug="body-too-large"))):
        row(38, f"a GET with a body of {size:,} bytes",
            get("/healthz", f"Content-Length: {size}") + b"x" * size, expected,
            ways=("whole", "behind"))


def rows_of_connections(suite):
    row = suite.row
    row(39, "Expect: foo", get("/healthz", "Expect: foo"), refused(417, slug="expectation-failed"))
    row(40, "Upgrade: h2c", get("/healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                                "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), answered(200))
    row(40, "Upgrade: websocket", get("/healthz", "Connection: Upgrade", "Upgrade: websocket"),
        answered(200))
    row(43, "a client that closes its side behind its request", post("/v1/apply", JOB),
        answered(200), half_close=True)
    row(44, "a client that closes its side in its body", post("/v1/apply", JOB, length="100"),
        closed, half_close=True)
    row(45, "a wrong request, and a right one behind it",
        get("/healthz", "Host: other") + post("/v1/apply_async", JOB), refused(400))


def rows_of_parameters(suite):
    row = suite.row
    bad = answered(400, slug="invalid-parameter")
    for query in ("wait=1", "limit=1&limit=2", "limit=", "limit=0", "limit=-1", "limit=1e3",
                  "cursor=x", "state=over", "=1", "limit"):
        row(46, f"GET /v1/jobs?{query}", get(f"/v1/jobs?{query}"), bad)
    for wait in ("abc", "-1", "", "0x10", "1e10", "nan"):
        row(46, f"timeout={wait}", get(f"/v1/jobs/{UNKNOWN}?timeout={wait}"), bad)
    for kind in (None, "text/plain", "application/jsonx", "application/json; charset=latin1",
                 "multipart/form-data; boundary=x"):
        row(54, f"Content-Type {kind}", post("/v1/apply", JOB, content_type=kind),
            answered(415, slug="unsupported-media-type"))
    for kind in ("application/json; charset=utf-8", 'application/json;charset="UTF-8"'):
        row(55, f"Content-Type {kind}", post("/v1/apply", JOB, content_type=kind), answered(200))
    row(56, "Content-Encoding gzip", post("/v1/apply", JOB, "Content-Encoding: gzip"),
        refused(415, slug="unsupported-media-type"))
    row(57, "Accept: text/html only", post("/v1/apply", JOB, "Accept: text/html"), answered(200))
    row(58, "an Origin of another site", post("/v1/apply", JOB, "Origin: http://evil.example"),
        refused(403, slug="forbidden-origin"))
    for key in ("", "a b", "x" * 129, "\x80"):
        row(84, f"Idempotency-Key {key[:4]!a}", post("/v1/apply_async", JOB, f"Idempotency-Key: {key}"),
            answered(400, slug="invalid-parameter"))
    row(84, "an Idempotency-Key of 128 characters",
        post("/v1/apply_async", JOB, "Idempotency-Key: " + "k" * 128), answered(202), ways=ONCE)
    for job in ("nonsense", UNKNOWN, UNKNOWN[:-1], UNKNOWN + "0"):
        row(88, f"the job {job}", get(f"/v1/jobs/{job}"), answered(404, slug="not-found"))


def rows_of_json(suite):
    row = suite.row
    bad = answered(400, slug="invalid-json")
    texts = {
        59: [b"", b"   "],
        61: [b'{"task":"square","args":[3]', JOB.encode() + b"x", JOB.encode() * 2],
        62: [b"\xef\xbb\xbf" + JOB.encode(), JOB.encode("utf-16")],
        63: [b'{"task":"\xff"}', b'{"task":"\xc0\xaf"}', b'{"task":"\xed\xa0\x80"}',
             b'{"task":"\xf4\x90\x80\x80"}'],
        64: [b'{"task":"\\ud800"}', b'{"task":"a","args":["\\ud800x"]}'],
        65: [b'{"task":"\x01"}', b'{"task":"a\0b"}'],
        66: [b'{"task":"echo","args":[%s]}' % number for number in
             (b"NaN", b"Infinity", b"+1", b"01", b".5", b"1.", b"0x1", b"'a'", b"1,", b"/**/1")],
    }
    for number, bodies in texts.items():
        for body in bodies:
            row(number, f"the body {body[:40]!a}", post("/v1/apply", body), bad,
                ways=("whole", "bytes"))
    for body in (b"1", b'"x"', b"null", b"[]"):
        row(60, f"the body {body.decode()}", post("/v1/apply", body), answered(400, 422))
    for depth, expected in ((61, answered(200)), (62, answered(200)),
                            (63, answered(400, slug="json-too-deep")),
                            (100000 // 2 - 50, answered(400, slug="json-too-deep"))):
        # The envelope and the arguments are two more.
        row(68, f"JSON that is {depth + 2} deep",
            post("/v1/apply", b'{"task":"echo","args":[%s%s]}' % (b"[" * depth, b"]" * depth)),
            expected, ways=ONCE)
    row(68, "JSON that is 65 deep in a line that is fed",
        post("/v1/imap", b'{"task":"echo"}\n%s%s\n%s%s\n' % (b"[" * 64, b"]" * 64, b"[" * 65, b"]" * 65),
             "Connection: close", content_type="application/x-ndjson"),
        lambda answer: answer.status == 200 and
        b'{"index":0,"result":%s%s}' % (b"[" * 64, b"]" * 64) in answer.data and
        b'"line 3: at byte 64: nested too deep (max_json_depth)"' in answer.data, ways=ONCE)
    for value in ("1e400", str(2 ** 63)):
        row(69, f"priority {value}",
            post("/v1/apply", '{"task":"echo","args":[1],"priority":%s}' % value),
            answered(400, 422))
    for value in (str(2 ** 63), "1e400", "0.1", "-0", "1e2", "1" * 4000):
        row(70, f"the argument {value[:20]}", post("/v1/apply", '{"task":"echo","args":[%s]}' % value),
            lambda answer, value=value: answered(200)(answer) and
            b'"result":' + value.encode() + b"}" in answer.data, ways=ONCE)
    for what, body in (("many small objects", b'{"task":"echo","args":[[%s{}]]}' % (b"{}," * 30000)),
                       ("a long string", b'{"task":"echo","args":["%s"]}' % (b"x" * 90000)),
                       ("many members", b'{"task":"echo","args":[{%s}]}' %
                        b",".join(b'"%d":0' % i for i in range(8000)))):
        row(71, what, post("/v1/apply", body), answered(200), ways=ONCE)
    row(72, "a number of 90,000 digits", post("/v1/apply", '{"task":"echo","args":[%s]}' % ("1" * 90000)),
        answered(400, slug="invalid-json"), ways=ONCE)


def rows_of_names(suite):
    """Row 67. In each body "|" is where the name begins that is not the first one."""
    many = ",".join(f'"n{i}":{i}' for i in range(100))
    bodies = (
        ("/v1/apply", "in the envelope", '{"task":"square",|"task":"cube","args":[1]}'),
        ("/v1/apply", "in the envelope, once with an escape",
         '{"task":"square","args":[1],|"\\u0061rgs":[2]}'),
        ("/v1/apply", "in what the server reads of a member",
         '{"task":"square","args":[1],"retry_backoff":{"initial":1,|"initial":1,"factor":2,"max":60}}'),
        ("/v1/apply", "in metadata",
         '{"task":"square","args":[1],"metadata":{"of":[{"a":1,"b":2,|"a":3}]}}'),
        ("/v1/apply", "in an argument", '{"task":"echo","args":[{"a":1,|"a":{"b":1,"b":2}}]}'),
        ("/v1/apply", "of many", '{"task":"echo","args":[{%s,|"n50":0}]}' % many),
        ("/v1/apply", "a keyword argument", '{"task":"power","args":[2],"kwargs":{"exp":1,|"exp":3}}'),
        ("/v1/apply_async", "in an argument", '{"task":"echo","args":[{"a":1,|"a":1}]}'),
        ("/v1/map", "in an item", '{"task":"echo","items":[{"a":1},{"a":1,|"a":2},{"a":1}]}'),
        ("/v1/starmap", "in an item", '{"task":"echo","items":[[{"a":1,|"a":2}]]}'),
        ("/v1/imap", "in an item", '{"task":"echo","items":[1,{"a":1,|"a":2}]}'),
        ("/v1/batch", "in an argument of a job",
         '[{"method":"apply_async","task":"echo","args":[{"a":1}]},'
         '{"method":"apply_async","task":"echo","args":[{"a":1,|"a":2}]}]'),
        ("/v1/jobs/wait", "in what is waited for", '{"ids":["%s"],"timeout":1,|"timeout":2}' % UNKNOWN),
        ("/v1/jobs/as_completed", "in what is waited for", '{"ids":["%s"],|"ids":[]}' % UNKNOWN),
        ("/v1/pools", "in a pool", '{"name":"twice","processes":1,"initargs":[{"a":1,|"a":2}]}'),
        ("PATCH /v1/pools/default", "in the change of a pool", '{"processes":1,|"processes":2}'),
        ("/v1/jobs/%s/cancel" % UNKNOWN, "in a cancellation", '{"terminate":true,|"terminate":false}'),
        ("/v1/admin/backup", "in a backup", '{"file":"a.db",|"file":"b.db"}'),
    )
    for where, what, body in bodies:  # POST unless it says otherwise
        method, path = where.split() if " " in where else ("POST", where)
        detail = b'"at byte %d: the same member twice"' % body.index("|")
        suite.row(67, f"a member twice, {where}: {what}", post(path, body.replace("|", ""), method=method),
                  lambda answer, detail=detail: answered(400, slug="invalid-json")(answer) and
                  detail in answer.data, ways=("whole", "bytes") if path == "/v1/apply" else ONCE)
    suite.row(67, "a member twice in the first line of a body that is fed",
              post("/v1/imap", '{"task":"echo","kwargs":{"a":1,"a":2}}\n1\n',
                   content_type="application/x-ndjson"), refused(400, slug="invalid-json"), ways=ONCE)
    suite.row(67, "a member twice in a line that is fed",
              post("/v1/imap", '{"task":"echo"}\n{"a":1}\n{"a":1,"a":2}\n', "Connection: close",
                   content_type="application/x-ndjson"),
              lambda answer: answer.status == 200 and
              b'{"index":0,"result":{"a":1}}' in answer.data and
              b'"line 3: at byte 7: the same member twice"' in answer.data, ways=ONCE)
    apart = b'{"a":{"a":[{"a":1},{"a":1}],"A":1,"\\u0062":2},"b":{"a":1},"":[{"":1}]}'
    suite.row(67, "the same name in different objects", post("/v1/apply", b'{"task":"echo","args":[%s]}' % apart),
              lambda answer: answered(200)(answer) and b'"result":' + apart + b"}" in answer.data)
    both = "[{%s},{%s}]" % (many, many)
    suite.row(67, "many names, and again in another object",
              post("/v1/apply", '{"task":"echo","args":[%s]}' % both),
              lambda answer: answered(200)(answer) and f'"result":{both}}}'.encode() in answer.data, ways=ONCE)


def rows_of_members(suite):
    wrong = answered(422, slug="validation-failed")
    apply = {
        73: ['"args":[1]', '"task":7', '"task":""', '"task":"%s"' % ("a" * 129), '"task":"../x"',
             '"task":"A b"', '"task":"a\\u0001b"'],
        75: ['"task":"square","args":[1],"items":[1]'],
        80: ['"task":"square","args":[1],"time_limit":0', '"task":"square","args":[1],"time_limit":-1',
             '"task":"square","args":[1],"time_limit":"10"',
             '"task":"square","args":[1],"time_limit":1e9'],
        81: ['"task":"square","args":[1],"priority":101', '"task":"square","args":[1],"priority":-101',
             '"task":"square","args":[1],"retries":101', '"task":"square","args":[1],"retries":-1'],
        82: ['"task":"square","args":[1],"colour":1'],
    }
    maps = {
        75: ['"task":"square"'],
        76: ['"task":"square","items":{}', '"task":"square","items":7'],
        79: ['"task":"square","items":[1],"chunksize":%s' % size for size in ("0", "-1", "1.5", '"5"')],
    }
    for path, table in (("/v1/apply", apply), ("/v1/map", maps)):
        for number, members in table.items():
            for text in members:
                suite.row(number, f"{path} {{{text[:50]}}}", post(path, "{%s}" % text), wrong, ways=ONCE)
    suite.row(74, "an unknown task", post("/v1/apply", '{"task":"sqare","args":[1]}'),
              answered(422, slug="unknown-task"))
    suite.row(76, "a map without items", post("/v1/map", '{"task":"square","items":[]}'),
              lambda answer: answered(200)(answer) and b'"result":[]' in answer.data)
    for count, expected in ((99, answered(200)), (100, answered(200)),
                            (101, answered(413, slug="too-many-items"))):
        suite.row(77, f"{count} items",
                  post("/v1/map", '{"task":"square","items":[%s]}' % ",".join(["1"] * count)),
                  expected, ways=ONCE)
    for size, expected in ((997, answered(200)), (998, answered(200)),
                           (999, answered(413, slug="item-too-large"))):
        suite.row(78, f"an item of {size + 2} bytes",
                  post("/v1/map", '{"task":"echo","items":["%s"]}' % ("x" * size)), expected, ways=ONCE)
    suite.row(79, "a chunksize above the number of items",
              post("/v1/map", '{"task":"square","items":[1],"chunksize":1000000000}'), answered(200))
    for eta, expected in (("2020-01-01T00:00:00Z", answered(202)), ("3020-01-01T00:00:00Z", wrong),
                          ("tomorrow", wrong)):
        suite.row(83, f"eta {eta}",
                  post("/v1/apply_async", '{"task":"square","args":[1],"eta":"%s"}' % eta), expected,
                  ways=ONCE)


def rows_of_keys(suite):
    first = post("/v1/apply_async", JOB, "Idempotency-Key: again")
    suite.row(85, "a request for the first time", first, answered(202), ways=ONCE)
    suite.row(85, "the same request again", first,
              lambda answer: answered(202)(answer) and answer.has_header("Idempotent-Replayed"))
    suite.row(86, "another request with its key",
              post("/v1/apply_async", '{"task":"cube","args":[3]}', "Idempotency-Key: again"),
              answered(422, slug="idempotency-mismatch"))
    for url in ("file:///etc/passwd", "gopher://hooks.example/", "http://127.0.0.1/",
                "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/", "http://0x7f.1/",
                "https://user:pass@hooks.example/", "https://hooks.example:22/"):
        suite.row(100, f"the callback {url}",
                  post("/v1/apply_async", '{"task":"square","args":[1],"callback":"%s"}' % url),
                  answered(422, slug="validation-failed"), ways=ONCE)


def held_up(suite, server):
    """That health is a measure: a server that does nothing for a moment is found slow."""
    began = threading.Event()

    def hold():
        server.process.send_signal(signal.SIGSTOP)
        began.set()
        time.sleep(4 * wire.HEALTH)
        server.process.send_signal(signal.SIGCONT)

    holder = threading.Thread(target=hold)
    holder.start()
    began.wait(wire.PATIENCE)
    suite.report(server.is_slow(), "a server that is held up is found slow", server.healths[-1:])
    holder.join(wire.PATIENCE)
    server.healths.pop()
    wrong = server.is_well()
    suite.report(not wrong, "and well behind that", wrong)


def main():
    server = wire.Server("--max-body-bytes", "100000", "--max-items", "100", "--max-item-bytes",
                         "1000", "--callback-allow", "hooks.example",
                         "--access-log", "all")
    suite = wire.Suite(server)
    rows_of_http(suite)
    rows_of_length(suite)
    rows_of_headers(suite)
    rows_of_targets(suite)
    rows_of_connections(suite)
    rows_of_parameters(suite)
    rows_of_json(suite)
    rows_of_names(suite)
    rows_of_members(suite)
    rows_of_keys(suite)
    held_up(suite, server)
    suite.done()


if __name__ == "__main__":
    sys.exit(main())
