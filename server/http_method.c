/* SPDX-License-Identifier: MIT */
#include "server/http.h"

const char *const http_method_names[HTTP_METHOD_COUNT] = {
    [HTTP_GET] = "GET",       [HTTP_POST] = "POST",       [HTTP_PATCH] = "PATCH",
    [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};
