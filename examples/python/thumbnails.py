# SPDX-License-Identifier: MIT
"""Makes thumbnails of pictures, with Pillow (python3-pil).

    curl -s localhost:8080/v1/map --json '{"task": "thumbnails:thumbnail",
        "items": ["/srv/photos/photo_0001.jpg", "/srv/photos/photo_0002.png"],
        "kwargs": {"folder": "/srv/thumbnails", "size": 128}}'

A picture that cannot be read is an answer with success false, and disturbs no other one.
"""

import os
import time

from PIL import Image


def thumbnail(path, folder, size=128):
    """Writes the picture, at most size pixels wide and high, into the folder under its own name."""
    start = time.perf_counter()
    name = os.path.basename(path)
    try:
        with Image.open(path) as picture:
            picture.thumbnail((size, size))
            picture.save(os.path.join(folder, name))
            message = f"{picture.width}x{picture.height}"
        success = True
    except Exception as exc:
        success, message = False, f"{type(exc).__name__}: {exc}"
    elapsed = round(time.perf_counter() - start, 6)
    return {"filename": name, "success": success, "elapsed": elapsed, "message": message}
