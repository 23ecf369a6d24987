# SPDX-License-Identifier: MIT
# The programs of examples/python, as a user drops them into a folder, with the numbers they give.
load helpers

: "${PYTHON3:=/usr/bin/python3}"

start_examples() {
    start_poold --tasks "$BATS_TEST_DIRNAME/../../examples/python" --python "$PYTHON3" "$@"
}

@test "primes: 78498 of them up to a million, over sixteen ranges" {
    start_examples --processes 2
    items=$(jq -nc '[range(16) | [. * 62500 + 1, (. + 1) * 62500]]')
    post /v1/starmap "{\"task\":\"primes:find_primes_in_range\",\"items\":$items}" >/dev/null
    expect 200
    body_is '[.result[][2] | length]' \
        '[6275,5459,5230,5080,4948,4912,4852,4782,4719,4729,4640,4612,4635,4575,4558,4492]'
    body_is '[.result[][2][]] | [length, .[0], .[9], .[-10], .[-1]]' '[78498,2,29,999863,999983]'
    post /v1/apply '{"task":"primes:count_primes","args":[1,1000]}' >/dev/null
    body_is .result 168
}

@test "primes: map_async, and get with a timeout" {
    start_examples --processes 4
    items=$(jq -nc '[range(100000; 100100)]')
    job=$(submit map_async "{\"task\":\"primes:is_prime\",\"items\":$items}")
    http GET "/v1/jobs/$job/result?timeout=10"
    expect 200
    body_is '[.result | to_entries[] | select(.value) | .key + 100000]' \
        '[100003,100019,100043,100049,100057,100069]'
}

@test "matmul: products of matrices, with or without NumPy" {
    start_examples
    post /v1/map '{"task":"matmul:benchmark","items":[10,20,50]}' >/dev/null
    expect 200
    body_is '[.result[] | [.size, .shape]]' '[[10,[10,10]],[20,[20,20]],[50,[50,50]]]'
    body_is '[.result[].trace]' '[2025,8100,50625]'
    post /v1/apply '{"task":"matmul:multiply","args":[[[1,2],[3,4]],[[5,6],[7,8]]]}' >/dev/null
    body_is .result '[[19,22],[43,50]]'
}

@test "safe_worker: errors are answers, and the batch is complete" {
    start_examples
    post /v1/map '{"task":"safe_worker:square","items":[1,2,-3,4,-5]}' >/dev/null
    expect 200
    body_is '[.result[] | [.task, .success, .result, .error]]' \
        '[[1,true,1,null],[2,true,4,null],[-3,false,null,"Negative input not allowed"],[4,true,16,null],[-5,false,null,"Negative input not allowed"]]'
    body_is '.result[2].traceback | test("ValueError: Negative input not allowed")' true
}

@test "thumbnails: real pictures are decoded, made small and written; broken ones are answers" {
    "$PYTHON3" -c 'import PIL' 2>/dev/null || skip "Pillow is not installed"
    photos=$BATS_TEST_TMPDIR/photos small=$BATS_TEST_TMPDIR/small
    mkdir "$photos" "$small"
    "$PYTHON3" - "$photos" <<'PY'
import sys
from PIL import Image
for i in range(20):
    picture = Image.radial_gradient("L").resize((400 + i, 300)).convert("RGB")
    picture.save(f"{sys.argv[1]}/photo_{i:04d}." + ("png" if i % 2 else "jpg"))
PY
    echo "no picture" >"$photos/broken.jpg"
    items=$(jq -nc '$ARGS.positional' --args "$photos"/photo_* "$photos/broken.jpg" "$photos/missing.png")
    start_examples
    post /v1/map "{\"task\":\"thumbnails:thumbnail\",\"items\":$items,
        \"kwargs\":{\"folder\":\"$small\",\"size\":100}}" >/dev/null
    expect 200
    body_is '[.result[] | keys_unsorted] | unique' '[["filename","success","elapsed","message"]]'
    body_is '[.result[:20][] | .success] | all' true
    body_is '.result[0] | [.filename, .message]' '["photo_0000.jpg","100x75"]'
    body_is '[.result[20:][] | [.filename, .success]]' '[["broken.jpg",false],["missing.png",false]]'
    body_is '.result[20].message | startswith("UnidentifiedImageError")' true
    body_is '.result[21].message | startswith("FileNotFoundError")' true
    [ "$(ls "$small" | wc -l)" = 20 ]
    [ "$("$PYTHON3" -c 'import sys; from PIL import Image; print(*(Image.open(p).format for p in sys.argv[1:]))' \
        "$small/photo_0000.jpg" "$small/photo_0001.png")" = 'JPEG PNG' ]
}
