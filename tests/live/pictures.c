/* SPDX-License-Identifier: MIT */
/*
 * Makes pictures for the tests, and looks at them.
 *
 *     pictures make FILE WIDTH HEIGHT     in the format that the name says
 *     pictures size FILE                  prints "WIDTHxHEIGHT"
 */
#include <stdlib.h>
#include <vips/vips.h>

/* Noise over a gradient: as hard to compress as a photo. */
static int make(const char *path, int width, int height)
{
    VipsImage *noise, *ramp, *sum, *bytes;

    return vips_gaussnoise(&noise, width, height, "sigma", 20.0, NULL) != 0 ||
           vips_identity(&ramp, "bands", 3, "size", 256, NULL) != 0 ||
           vips_resize(ramp, &ramp, width / 256.0, "vscale", (double)height, NULL) != 0 ||
           vips_crop(ramp, &ramp, 0, 0, width, height, NULL) != 0 ||
           vips_add(noise, ramp, &sum, NULL) != 0 ||
           vips_cast_uchar(sum, &bytes, NULL) != 0 ||
           vips_image_write_to_file(bytes, path, NULL) != 0;
}

int main(int argc, char **argv)
{
    VipsImage *image;

    if (VIPS_INIT(argv[0]) != 0)
        return 1;
    if (argc == 5 && g_str_equal(argv[1], "make") &&
        make(argv[2], atoi(argv[3]), atoi(argv[4])) == 0)
        return 0;
    if (argc == 3 && g_str_equal(argv[1], "size") &&
        (image = vips_image_new_from_file(argv[2], NULL)))
        return printf("%dx%d\n", vips_image_get_width(image),
                      vips_image_get_height(image)) < 0;
    fprintf(stderr, "%s", vips_error_buffer());
    return 1;
}
