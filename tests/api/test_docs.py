#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page that scripts/docs-html.py makes: complete, self-contained, and nothing unescaped."""

import html.parser
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTION = ROOT / "openapi" / "poold.yaml"
PROBLEMS = ROOT / "server" / "problem.c"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(html.parser.HTMLParser):
    """What a page consists of: its tags and attributes, its ids, its text."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.source = source
        self.tags, self.attributes, self.ids, self.open = [], [], [], []
        self.unbalanced = []
        self.words = []
        self.feed(source)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def render(description, *more):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "docs.html"
        subprocess.run([sys.executable, ROOT / "scripts" / "docs-html.py", description, out,
                        *more], check=True)
        return Page(out.read_text(encoding="utf-8"))


def render_changed(change):
    """The page of the real description after change(document)."""
    document = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
    change(document)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(document, file, allow_unicode=True)
        file.flush()
        return render(file.name)


def operations(document):
    for path, item in document["paths"].items():
        for method in ("get", "put", "post", "patch", "delete"):
            if method in item:
                yield path, method, item[method]


def strings(node):
    """Every text of the document with its place: (the keys that lead to it, the text)."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from ((f"{key}/{place}", text) for place, text in strings(value))
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield "", node


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
        cls.page = render(DESCRIPTION, PROBLEMS)

    def headings(self):
        return re.findall(r"<h3 id=\"op-[^\"]*\">(.*?)</h3>", self.page.source, re.S)

    def test_every_operation_has_a_heading_with_its_method_and_path(self):
        shown = {" ".join(re.sub(r"<[^>]*>", "", heading).split()) for heading in self.headings()}
        wanted = {f"{method.upper()} {path}" for path, method, _ in operations(self.document)}
        self.assertEqual(shown, wanted)

    def test_every_operation_can_be_reached_from_the_contents(self):
        nav = self.page.source.split("<nav", 1)[1].split("</nav>", 1)[0]
        for path, method, operation in operations(self.document):
            self.assertIn(f'href="#op-{operation["operationId"]}"', nav, f"{method} {path}")

    def test_every_schema_has_a_section(self):
        for name in self.document["components"]["schemas"]:
            self.assertIn(f"schema-{name}", self.page.ids)

    def test_every_member_of_a_request_is_in_the_table_of_its_call(self):
        schemas = self.document["components"]["schemas"]

        def members(schema):
            if "$ref" in schema:
                schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
            yield from schema.get("properties", {})
            for part in schema.get("allOf", []):
                yield from members(part)

        for path, method, operation in operations(self.document):
            content = operation.get("requestBody", {}).get("content", {})
            section = self.page.source.split(f'id="op-{operation["operationId"]}"', 1)[1]
            section = section.split("</section>", 1)[0]
            for media in content.values():
                for member in members(media["schema"]):
                    self.assertIn(f'scope="row"><code>{member}</code>', section,
                                  f"{method} {path}")

    def test_every_parameter_and_status_of_an_operation_is_shown(self):
        for path, method, operation in operations(self.document):
            section = self.page.source.split(f'id="op-{operation["operationId"]}"', 1)[1]
            section = section.split("</section>", 1)[0]
            for name in re.findall(r"\{(\w+)\}", path):
                self.assertIn(f'scope="row"><code>{name}</code>', section)
            for status in operation["responses"]:
                shown = "any" if status == "default" else status
                self.assertIn(f">{shown}</span>", section, f"{method} {path}")

    def test_every_problem_is_explained(self):
        named = {text.removeprefix("/problems/") for _, text in strings(self.document["components"])
                 if re.fullmatch(r"/problems/[a-z-]+", text)}
        self.assertGreater(len(named), 30)
        for slug in named:
            self.assertIn(f"problem-{slug}", self.page.ids)
            card = self.page.source.split(f'id="problem-{slug}"', 1)[1].split("</section>", 1)[0]
            self.assertRegex(card, r'<span class="status s[45]">[45]\d\d</span>', slug)
            self.assertIn("<strong>", card, f"{slug} has no row in {PROBLEMS.name}")

    def test_the_page_loads_nothing(self):
        allowed = re.compile(r"#[\w.-]+$|/problems/[a-z-]+$|/openapi\.(yaml|json)$"
                             r"|https://www\.rfc-editor\.org/rfc/rfc\d+$")
        for tag, name, value in self.page.attributes:
            self.assertFalse(name.startswith("on"), f"{tag} {name}")
            if name in ("src", "srcset", "action", "data", "poster", "style"):
                self.fail(f"<{tag} {name}={value!r}>")
            if name == "href":
                self.assertEqual(tag, "a")
                self.assertRegex(value, allowed)
        for tag in ("script", "link", "img", "iframe", "object", "embed", "form", "base"):
            self.assertNotIn(tag, self.page.tags)
        style = self.page.source.split("<style>", 1)[1].split("</style>", 1)[0]
        self.assertNotRegex(style, r"url\(|@import|https?:")

    def test_links_inside_of_the_page_lead_somewhere_and_ids_are_unique(self):
        self.assertEqual(len(self.page.ids), len(set(self.page.ids)))
        for _, name, value in self.page.attributes:
            if name == "href" and value.startswith("#"):
                self.assertIn(value[1:], self.page.ids)
            if name == "aria-labelledby":
                self.assertIn(value, self.page.ids)

    def test_tags_are_balanced(self):
        self.assertEqual(self.page.unbalanced, [])
        self.assertEqual(self.page.open, [])

    def test_text_of_the_description_is_escaped_wherever_it_stands(self):
        evil = "<script>alert('x')</script>\"><b onclick=x> [a](javascript:alert) `<i>` **<u>**"

        def poison(node, key=""):
            if isinstance(node, dict):
                for name, value in node.items():
                    if isinstance(value, str) and name in (
                            "description", "summary", "title", "pattern", "version", "default"):
                        node[name] = evil
                    else:
                        poison(value, name)
                if key == "examples":
                    node[evil] = evil
                if key == "properties":
                    node[evil] = {"type": evil, "default": evil, "enum": [evil]}
            elif isinstance(node, list):
                for value in node:
                    poison(value, key)

        page = render_changed(poison)
        self.assertGreater(page.text.count("<script>alert('x')</script>"), 200)
        for tag in ("script", "b", "i", "u"):
            self.assertNotIn(tag, page.tags)
        for tag, name, value in page.attributes:
            self.assertFalse(name.startswith("on"), f"{tag} {name}")
            self.assertNotRegex(value, r"^\s*javascript:")
        self.assertEqual(page.unbalanced, [])

    def test_markdown_of_the_introduction_becomes_markup(self):
        def change(document):
            document["info"]["description"] = (
                "One **strong** and *soft* `code` in RFC 9110.\n\n## A heading\n\n"
                "- first\n- second [here](https://example.org/)\n\n```\nx < y\n```\n")

        source = render_changed(change).source
        for markup in ("<strong>strong</strong>", "<em>soft</em>", "<code>code</code>",
                       'href="https://www.rfc-editor.org/rfc/rfc9110"',
                       '<h2 id="a-heading">A heading</h2>', "<li>first</li>",
                       '<li>second <a href="https://example.org/">here</a></li>',
                       "<code>x &lt; y</code>"):
            self.assertIn(markup, source)


if __name__ == "__main__":
    unittest.main()
