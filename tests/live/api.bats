# SPDX-License-Identifier: MIT
#
# The description of the API is true: every example pair of openapi/examples/ is replayed against
# the server and checked against openapi/poold.yaml, and no route is without an example.

load helpers

@test "every example in openapi/examples is answered as it says" {
    # What the examples call back; nobody listens there.
    mkdir "$BATS_TEST_TMPDIR/backups"
    start_poold --callback-allow 127.0.0.1:8443 --backup-dir "$BATS_TEST_TMPDIR/backups"
    run "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/../api/replay.py" "$URL"
    echo "$output"
    [ "$status" = 0 ]
    [[ "$output" =~ ([0-9]+)\ passed,\ 0\ failed ]]
    [ "${BASH_REMATCH[1]}" -gt 100 ]
}

@test "every example that is about keys is answered as it says" {
    key=$("${poold[@]}" key new --data "$POOLD_DATA_DIR" --name root --scopes admin)
    start_poold
    run "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/../api/replay.py" "$URL" "$key"
    echo "$output"
    [ "$status" = 0 ]
    [[ "$output" =~ ([0-9]+)\ passed,\ 0\ failed ]]
    [ "${BASH_REMATCH[1]}" -gt 10 ]
}
