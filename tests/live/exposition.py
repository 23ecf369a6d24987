#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads what /metrics answers, strictly, and looks at who uses it.

    exposition.py FORMAT FILE            "text" or "openmetrics": prints each sample as JSON
    exposition.py uses FILE DOCS...      each family that DOCS (rules, dashboard) name is in
                                         FILE, and each expression names one
"""
import json
import re
import sys

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
SUFFIXES = {
    "counter": {"text": [""], "openmetrics": ["_total"]},
    "gauge": {"text": [""], "openmetrics": [""]},
    "info": {"text": None, "openmetrics": ["_info"]},
    "histogram": {
        "text": ["_bucket", "_sum", "_count"],
        "openmetrics": ["_bucket", "_sum", "_count"],
    },
}


def read_labels(text):
    labels = {}
    while text:
        match = LABEL.match(text)
        assert match, f"labels: {text}"
        assert match[1] not in labels, f"label twice: {match[1]}"
        labels[match[1]] = re.sub(
            r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[2]
        )
        text = text[match.end() :]
    return labels


def check_histogram(family, samples):
    series = {}
    for name, labels, value in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        series.setdefault(key, []).append((name[len(family) :], labels.get("le"), value))
    for lines in series.values():
        buckets = [(float(le), value) for suffix, le, value in lines if le is not None]
        assert [b for b in buckets] == sorted(buckets), f"{family}: buckets do not rise"
        assert buckets[-1][0] == float("inf")
        counts = [value for suffix, _, value in lines if suffix == "_count"]
        sums = [value for suffix, _, value in lines if suffix == "_sum"]
        assert counts == [buckets[-1][1]] and len(sums) == 1 and sums[0] >= 0


def read(form, text):
    """The samples as (family, name, labels, value), with all that the format demands."""
    families, seen, order = {}, set(), []
    assert text.endswith("\n")
    lines = text.split("\n")[:-1]
    if form == "openmetrics":
        assert lines.pop() == "# EOF"
    family, kind = None, None
    for line in lines:
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            if what == "HELP":
                assert name not in families, f"{name} comes twice"
                family, kind = name, None
                families[name] = []
            assert name == family, f"{line}: not of {family}"
            if what == "TYPE":
                kind = rest
                assert SUFFIXES[kind][form] is not None, f"{kind} in {form}"
                if form == "openmetrics":
                    assert not family.endswith(("_total", "_info"))
                elif kind == "counter":
                    assert family.endswith("_total")
            if what == "UNIT":
                assert form == "openmetrics" and family.endswith("_" + rest)
            assert what in ("HELP", "TYPE", "UNIT")
            continue
        match = SAMPLE.fullmatch(line)
        assert match, f"no sample: {line!r}"
        name, value = match[1], float(match[3])
        labels = read_labels(match[2] or "")
        assert name in [family + s for s in SUFFIXES[kind][form]], f"{line}: of {family}"
        key = (name, tuple(sorted(labels.items())))
        assert key not in seen, f"{line}: twice"
        seen.add(key)
        if kind in ("counter", "histogram"):
            assert value >= 0
        families[family].append((name, labels, value))
        order.append((family, name, labels, value))
        if kind == "histogram" and name.endswith("_count"):
            check_histogram(family, families[family])
    return order


def expressions(node):
    """Of rules or a dashboard: what stands under `expr`, and queries of variables."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "definition"):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def check_uses(known, path):
    with open(path, encoding="utf-8") as file:
        if path.endswith(".json"):
            tree = json.load(file)
        else:
            import yaml

            tree = yaml.safe_load(file)
    count = 0
    for expression in expressions(tree):
        bare = re.sub(r'"[^"]*"', '""', expression)
        names = set(re.findall(r"\b(?:poold|process)_\w+", bare))
        assert names or bare.startswith("up{"), f"{path}: nothing of ours: {expression}"
        for name in names:
            assert name in known, f"{path}: there is no {name}: {expression}"
        count += 1
    assert count > 10, f"{path}: {count} expressions"


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        text = file.read()
    if sys.argv[1] == "uses":
        types = dict(re.findall(r"# TYPE (\S+) (\S+)\n", text))
        known = set(types)
        for name, kind in types.items():
            if kind == "histogram":
                known |= {name + s for s in SUFFIXES["histogram"]["text"]}
        for path in sys.argv[3:]:
            check_uses(known, path)
        return
    for family, name, labels, value in read(sys.argv[1], text):
        print(json.dumps({"family": family, "name": name, "labels": labels, "value": value}))


if __name__ == "__main__":
    main()
