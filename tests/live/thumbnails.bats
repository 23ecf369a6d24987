# SPDX-License-Identifier: MIT
# examples/thumbnails: real pictures through a plugin on libvips.
load helpers

ROOT=$BATS_TEST_DIRNAME/../..

setup_file() {
    pkg-config --exists vips 2>/dev/null || return 0
    export BUILT=$BATS_FILE_TMPDIR
    local flags
    mkdir "$BUILT/tasks"
    read -ra flags < <(pkg-config --cflags --libs vips jansson)
    cc -shared -fPIC -O2 -Wall -Wextra -Werror -o "$BUILT/tasks/thumbnails.so" \
        "$ROOT/examples/thumbnails/thumbnails.c" -I"$ROOT/include" "${flags[@]}"
    cc -O2 -Wall -Wextra -Werror -o "$BUILT/pictures" "$BATS_TEST_DIRNAME/pictures.c" "${flags[@]}"
}

# The pictures of the test, in $IN; thumbnails go to $OUT.
pictures() {
    [ -n "${BUILT:-}" ] || skip "libvips is not installed: scripts/install-packages test"
    IN=$BATS_TEST_TMPDIR/in
    OUT=$BATS_TEST_TMPDIR/out
    mkdir "$IN" "$OUT"
    while [ $# -gt 0 ]; do
        "$BUILT/pictures" make "$IN/$1" "$2" "$3"
        shift 3
    done
}

# thumbnails SIZE: of all files in $IN, sorted by name.
thumbnails() {
    jq -nc --arg out "$OUT" --argjson size "$1" '{task: "thumbnail", items: $ARGS.positional,
        kwargs: {folder: $out, size: $size}}' --args "$IN"/* >"$BATS_TEST_TMPDIR/batch"
    http POST /v1/map -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/batch"
}

size_of() { "$BUILT/pictures" size "$OUT/$1"; }

@test "JPEG and PNG files are decoded, made smaller and written" {
    pictures a.jpg 1600 1200 b.png 300 900 c.jpg 100 50
    start_poold --tasks "$BUILT/tasks"
    thumbnails 128
    expect 200
    body_is '[.result[].success]' '[true,true,true]'
    body_is '[.result[].message]' '["1600x1200 -> 128x96","300x900 -> 43x128","100x50 -> 100x50"]'
    body_is '[.result[].filename | sub(".*/"; "")]' '["a.jpg","b.png","c.jpg"]'
    body_is '[.result[].elapsed | . > 0 and . < 30] | all' true
    [ "$(size_of a.jpg)" = 128x96 ]
    [ "$(size_of b.png)" = 43x128 ]
    [ "$(head -c 4 "$OUT/b.png" | tail -c 3)" = PNG ]
}

@test "a broken file is an answer and does not disturb the batch" {
    pictures a.jpg 800 600 c.png 800 600 e.jpg 800 600
    head -c 2000 "$IN/a.jpg" >"$IN/b.jpg"  # cut
    head -c 5000 "$IN/c.png" >"$IN/d.png"  # cut
    echo 'no picture' >"$IN/f.jpg"
    : >"$IN/g.png"
    start_poold --tasks "$BUILT/tasks"
    thumbnails 64
    expect 200
    body_is '[.result[].success]' '[true,false,true,false,true,false,false]'
    body_is '[.result[] | select(.success | not) | .message | length > 0] | all' true
    [ ! -e "$OUT/f.jpg" ]
    # The worker goes on, and what is wrong with the call itself is an error.
    thumbnails 0
    expect 422 task-error
    body_is .exception.type '"ValueError"'
}

@test "a hundred pictures are one batch" {
    pictures p000.jpg 640 480
    for i in $(seq -w 1 99); do
        cp "$IN/p000.jpg" "$IN/p0$i.jpg"
    done
    start_poold --tasks "$BUILT/tasks"
    thumbnails 100
    expect 200
    body_is '[.result[] | select(.success)] | length' 100
    [ "$(find "$OUT" -name '*.jpg' | wc -l)" = 100 ]
}
