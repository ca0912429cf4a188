"""Pages in a headless Chromium: nothing is asked for, nothing is complained of, tables sort, nothing overflows.

Skipped where there is none; `.ci/run` installs one.  With PYNODE_SCREENSHOTS=DIR the screenshots are kept there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pynode.cli import main
from tests.drawing import figures_drawn
from tests.studies.page.browser import chromium, missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[3]
STUDY = ROOT / "experiments" / "published" / "study"
HOSTILE = "<img src=x onerror=document.title='run'>"
WIDE, NARROW = 1280, 400

OVERFLOWING = """
() => [...document.querySelectorAll("body *")]
    .filter((e) => e.closest(".scroll") === null && e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => e.tagName + " " + e.className)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: ARG001
    """Pages of a published comparison, of a map, and of a suite of which one run has a hostile name."""
    made = tmp_path_factory.mktemp("pages")
    suite = made / "suite"
    for name in ("miniboone-eager", "power-eager"):
        shutil.copytree(STUDY / name, suite / name)
    run = next((suite / "power-eager" / "runs").iterdir())
    run.rename(run.parent / HOSTILE)
    written = {}
    for name, directory in (("comparison", STUDY / "miniboone-eager"), ("map", STUDY / "map"), ("suite", suite)):
        written[name] = made / f"{name}.html"
        with figures_drawn():
            assert main(["report", str(directory), "--out", str(written[name])]) == 0
    return written


@dataclass
class Visit:
    """An open page, with all that it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def visit(browser: Browser, path: Path, width: int = WIDE, **options: Any) -> Visit:
    page = browser.new_page(viewport={"width": width, "height": 900}, **options)
    visited = Visit(page)
    page.on("console", lambda message: visited.said.append(message.text))
    page.on("pageerror", lambda error: visited.said.append(str(error)))
    page.on("dialog", lambda dialog: visited.said.append(dialog.message))
    page.on("request", lambda request: visited.asked.append(request.url))
    page.goto(path.as_uri())
    return visited


@pytest.mark.parametrize("name", ["comparison", "map", "suite"])
@pytest.mark.parametrize(("scheme", "width"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)])
def test_a_page_opens(
    browser: Browser, pages: dict[str, Path], name: str, scheme: str, width: int, tmp_path: Path
) -> None:
    visited = visit(browser, pages[name], width, color_scheme=scheme)
    page = visited.page
    shots = Path(os.environ.get("PYNODE_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    picture = page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
    assert len(picture) > 50_000, "an empty page"
    assert visited.said == []
    assert [url for url in visited.asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert ink != paper
    assert (sum(map(int, paper[4:-1].split(","))) < 300) == (scheme == "dark")
    page.close()


def column(page: Page, title: str, k: int) -> list[str]:
    """The cells of a column of the table with that caption."""
    rows = page.locator("table", has=page.locator("caption", has_text=title)).first.locator("tbody tr")
    return [str(text) for text in rows.evaluate_all("(rows, k) => rows.map((row) => row.cells[k].textContent)", k)]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_parts_of_a_quantity_are_indented(browser: Browser, pages: dict[str, Path], width: int) -> None:
    """As in the terminal, where spaces say that a row is a part of the one above it."""
    page = visit(browser, pages["comparison"], width).page
    assert page.locator("tbody th", has_text="forward solve and loss").first.inner_text().startswith("  ")
    page.close()


def test_tables_sort_by_a_click(browser: Browser, pages: dict[str, Path]) -> None:
    visited = visit(browser, pages["comparison"])
    page = visited.page
    runs = page.locator("table", has=page.locator("caption", has_text="Runs")).first
    heads = runs.locator("thead th")
    titles = heads.all_inner_texts()
    k = next(k for k, title in enumerate(titles) if title.startswith("best validation loss"))
    as_written = column(page, "Runs", k)
    heads.nth(k).get_by_role("button").click()
    rising = column(page, "Runs", k)
    assert heads.nth(k).get_attribute("aria-sort") == "ascending"
    assert rising == sorted(as_written, key=float)
    heads.nth(k).get_by_role("button").click()
    assert heads.nth(k).get_attribute("aria-sort") == "descending"
    assert column(page, "Runs", k) == sorted(as_written, key=float, reverse=True)
    assert [heads.nth(j).get_attribute("aria-sort") for j in range(len(titles)) if j != k] == [None] * (len(titles) - 1)
    assert visited.said == []
    page.close()


def test_tables_sort_by_keys(browser: Browser, pages: dict[str, Path]) -> None:
    page = visit(browser, pages["comparison"]).page
    head = page.locator("table", has=page.locator("caption", has_text="Runs")).first.locator("thead th").first
    before = column(page, "Runs", 0)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert column(page, "Runs", 0) == sorted(before)
    page.keyboard.press("Space")
    assert column(page, "Runs", 0) == sorted(before, reverse=True)
    page.close()


def test_numbers_are_sorted_as_numbers(browser: Browser, pages: dict[str, Path]) -> None:
    """1,234 after 999, a dash last in both directions."""
    page = visit(browser, pages["map"]).page
    page.locator("details").first.evaluate("(element) => { element.open = true; }")
    tables = page.locator("table.sortable")
    for table in (tables.nth(i) for i in range(tables.count())):
        for head in table.locator("thead th.number").all():
            k = head.evaluate("(head) => head.cellIndex")
            for direction in (1, -1):
                head.locator("button").evaluate("(button) => button.click()")
                keys = table.locator("tbody tr").evaluate_all(
                    "(rows, k) => rows.map((row) => row.cells[k].dataset.number ?? null)", k
                )
                numbers = [float(key) for key in keys if key is not None]
                assert keys[len(numbers) :] == [None] * (len(keys) - len(numbers))
                assert numbers == sorted(numbers, reverse=direction < 0)
    page.close()


def test_what_records_say_runs_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    visited = visit(browser, pages["suite"])
    assert visited.page.get_by_text(HOSTILE).count() > 0
    assert visited.page.title() == "suite – suite"
    assert visited.page.locator("img").count() == 0
    assert visited.said == []
    # and should some markup slip through, the policy keeps it from running and from loading anything
    visited.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://example.org/x onerror=\"document.title=1\">')"
    )
    visited.page.wait_for_timeout(300)
    assert visited.page.title() == "suite – suite"
    assert all("Content Security Policy" in text for text in visited.said)
    assert len(visited.said) >= 1
    visited.page.close()


def test_links_lead_into_parts(browser: Browser, pages: dict[str, Path]) -> None:
    page = visit(browser, pages["suite"]).page
    page.locator("details.part").evaluate_all("(parts) => parts.forEach((part) => { part.open = false; })")
    page.locator("nav a", has_text="power-eager").click()
    part = page.locator("details.part", has=page.locator("h3", has_text="power-eager"))
    assert part.evaluate("(part) => part.open")
    page.close()


def test_on_paper_everything_is_open(browser: Browser, pages: dict[str, Path]) -> None:
    page = visit(browser, pages["comparison"], color_scheme="dark").page
    folded = page.locator("details:not([open])").count()
    assert folded > 0
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()


def test_without_scripts_everything_is_there(browser: Browser, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["comparison"].as_uri())
    assert page.locator("figure svg").count() >= 3
    assert page.locator("th button").count() == 0
    context.close()
