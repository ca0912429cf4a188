"""An HTML page as a browser reads it, for tests of what stands in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Parsed:
    """Elements in order with their attributes, texts between them, ids, and what refers to ids."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    @property
    def references(self) -> list[str]:
        values = [str(value) for _, attributes in self.elements for value in attributes.values()]
        links = [str(a["href"])[1:] for _, a in self.elements if str(a.get("href", "")).startswith("#")]
        return [*links, *(match for value in values for match in re.findall(r"url\(#([^)]+)\)", value))]

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parsed = Parsed()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parsed.elements.append(("clipPath" if tag == "clippath" else tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.parsed.texts.append(data)


def parse(markup: str) -> Parsed:
    """What stands in `markup`."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader.parsed
