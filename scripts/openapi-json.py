#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""openapi-json.py IN.yaml OUT.json: the API's description as compact JSON, for the build.

Dates would become objects that JSON does not have, so YAML's guess at them is switched off.
"""

import json
import sys

import yaml


class Loader(yaml.SafeLoader):
    """SafeLoader that leaves timestamps as they are written and refuses doubled keys."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"doubled key {key!r}",
                                           problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_yaml_str)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as source:
        document = yaml.load(source, Loader)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    with open(sys.argv[2], "w", encoding="utf-8") as target:
        target.write(text + "\n")


if __name__ == "__main__":
    main()
