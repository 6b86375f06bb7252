"""What a browser makes of a report. Chromium has no network here: a request that leaves the file is an error."""

import re
import shutil
from functools import cache
from itertools import pairwise

import pytest
from runner.tiny_page import EVIL, LABELS, K, N, images, soft, table, write, write_sweep

from dec_jax.runner.webpage import page as webpage

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MAKE = {
    "rows": lambda folder: write(folder, table()),
    "images": lambda folder: write(folder, images()),
    "sweep": write_sweep,
}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The addresses of a report of each kind."""
    return {kind: webpage.write(make(tmp_path_factory.mktemp(kind))).as_uri() for kind, make in MAKE.items()}


@pytest.fixture(scope="module")
def opened(browser, reports):
    """A function that opens a report, once; what it complained of and asked for is in `complaints` and `requests`."""

    @cache
    def open_report(kind):
        page = browser.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (page.complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(reports[kind])
        return page

    return open_report


@pytest.fixture
def look(opened):
    """A function that shows a report, on a desk by day, with all clusters."""

    def show(kind="rows"):
        page = opened(kind)
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="light")
        if kind == "rows":
            page.locator("button[data-all='true']").click()
        return page

    return show


def hover(page, cluster, number):
    """Points at a sample of a cluster; returns its name, and what is shown."""
    x, y, name = page.evaluate(
        """([cluster, number]) => {
            const plot = document.getElementById("embedding");
            plot.scrollIntoView({block: "center", behavior: "instant"});
            const trace = plot.data.find((one) => one.meta.cluster === cluster);
            const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
            return [
                box.left + xaxis._offset + xaxis.l2p(trace.x[number]),
                box.top + yaxis._offset + yaxis.l2p(trace.y[number]),
                trace.customdata[number][0],
            ];
        }""",
        [cluster, number],
    )
    page.mouse.move(x - 2, y)
    page.mouse.move(x, y)
    page.wait_for_selector(".hoverlayer .hovertext text")
    return name, page.locator(".hoverlayer .hovertext").first.text_content()


def shown(page):
    """The clusters whose points are drawn."""
    return page.evaluate(
        """() => [...document.querySelectorAll("#embedding .scatterlayer .trace")]
            .filter((one) => one.querySelector(".point"))
            .map((one) => one.__data__[0].trace.meta.cluster)"""
    )


@pytest.mark.parametrize("kind", MAKE)
def test_it_draws_without_a_complaint_and_asks_for_nothing(look, reports, kind):
    page = look(kind)
    assert page.locator(".plot").count() == page.locator(".plot > .plot-container .cartesianlayer").count() > 0
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [reports[kind]]
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_pointing_at_a_point_shows_the_sample(look):
    page = look()
    name, text = hover(page, 1, 4)
    row = int(re.search(r"\d+", name)[0])
    assert f"sample <b>row {row}</b>" in text  # as the table has it
    assert "cluster 1" in text
    assert f"confidence {100 * soft(LABELS)[row].max():.1f} %" in text
    assert "class b" in text


def test_markup_in_the_data_is_text(look):
    page = look()
    _, text = hover(page, 0, 2)
    assert f"class {EVIL}" in text
    assert page.locator(f"th:text-is('{EVIL}')").count() > 0
    assert page.locator("main script, main b, main i").count() == 0
    assert page.complaints == []


def test_the_legend_filters_by_mouse_and_by_keyboard(look):
    page = look()
    assert set(shown(page)) == {0, 1, 2}
    page.click("button[data-cluster='1']")
    assert set(shown(page)) == {0, 2}
    page.focus("button[data-cluster='0']")
    page.keyboard.press("Space")
    assert set(shown(page)) == {2}
    pressed = [page.get_attribute(f"button[data-cluster='{c}']", "aria-pressed") for c in range(K)]
    assert pressed == ["false", "false", "true"]
    page.click("button[data-all='true']")
    assert set(shown(page)) == {0, 1, 2}
    page.click("button[data-only='1']")
    assert set(shown(page)) == {1}
    page.click("button[data-cluster='0']")
    assert set(shown(page)) == {0, 1}


def test_it_is_dark_where_the_reader_is(look):
    page = look()
    colours = """() => [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("#curve-0 .xtick text")).fill]"""
    assert page.evaluate(colours) == ["rgb(246, 247, 249)", "rgb(89, 98, 115)"]
    page.emulate_media(color_scheme="dark")
    page.evaluate(
        """async () => {
            const fill = () => getComputedStyle(document.querySelector("#curve-0 .xtick text")).fill;
            const before = fill();
            for (let i = 0; i < 300 && fill() === before; i++) await new Promise(requestAnimationFrame);
        }"""
    )
    assert page.evaluate(colours) == ["rgb(18, 22, 29)", "rgb(163, 173, 189)"]


def test_it_can_be_read_without_eyes(look):
    page = look()
    page.locator("nav a").first.focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.get_by_role("main").count() == page.get_by_role("navigation").count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("table", name="Where the clusters lie in the plot").is_visible()
    assert f"{N // K}" in page.get_by_role("table", name="Where the clusters lie in the plot").text_content()


def test_a_script_that_is_not_the_pages_own_does_not_run(look):
    page = look()
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in page.complaints[0]
