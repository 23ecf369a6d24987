#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installs poold into an empty folder, moves that, and builds a plugin out of tree with what is in
# it: with pkg-config, and with CMake's find_package.
#
#     tests/check_install.sh BUILD_DIR POOLD
set -euo pipefail

build=$1
poold=$2
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >"$work/log" || {
    cat "$work/log"
    exit 1
}
mv "$work/first" "$work/prefix"
"$work/prefix/bin/poold" --version
mkdir "$work/tasks" "$work/project"

export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
pkg-config --modversion poold
read -ra flags < <(pkg-config --cflags poold)
sed 's/"gcd"/"gcd.pkg_config"/' "$root/examples/gcd.c" >"$work/project/gcd.c"
"${CC:-cc}" -shared -fPIC -O2 -Wall -Wextra -Werror "${flags[@]}" -o "$work/tasks/one.so" \
    "$work/project/gcd.c"

sed 's/"gcd"/"gcd.cmake"/' "$root/examples/gcd.c" >"$work/project/gcd.c"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(gcd LANGUAGES C)
find_package(poold 0.1 REQUIRED)
add_library(gcd MODULE gcd.c)
target_link_libraries(gcd PRIVATE poold::task)
set_target_properties(gcd PROPERTIES PREFIX "")
END
{
    cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$work/prefix" &&
        cmake --build "$work/project/build"
} >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}
cp "$work/project/build/gcd.so" "$work/tasks/two.so"

"$poold" tasks "$work/tasks" | tee "$work/listed"
grep -q 'gcd\.pkg_config' "$work/listed"
grep -q 'gcd\.cmake' "$work/listed"
