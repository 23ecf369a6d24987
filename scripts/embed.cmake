# Writes a C file that holds the bytes of another file.
#   cmake -DNAME=x -DIN=file -DOUT=file.c -P embed.cmake
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR len "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT}
"/* Made from ${NAME} by scripts/embed.cmake. */
#include <stddef.h>
extern const unsigned char embed_${NAME}[];
extern const size_t embed_${NAME}_len;
const unsigned char embed_${NAME}[] = {
${bytes}
0 };
const size_t embed_${NAME}_len = ${len};
")
