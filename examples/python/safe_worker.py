# SPDX-License-Identifier: MIT
"""A task whose errors are answers, so that a batch is complete whatever its items are.

    curl -s localhost:8080/v1/map --json '{"task": "safe_worker:square", "items": [1, 2, -3, 4, -5]}'
"""

import traceback


def square(task):
    """The square of a number that is not negative: {success, result, task}, or what is wrong."""
    try:
        if task < 0:
            raise ValueError("Negative input not allowed")
        return {"success": True, "result": task * task, "task": task}
    except Exception as exc:
        return {"success": False, "error": str(exc), "traceback": traceback.format_exc(), "task": task}
