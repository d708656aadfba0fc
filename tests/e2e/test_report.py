"""The report in a real browser: it stands alone, sorts, filters, and is fit for everybody."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from sweep.comparison.comparison import Choices, compare
from sweep.comparison.report.page import report
from tests.simulated import sweep_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HOSTILE = ["<img src=x onerror=alert(1)>", '$x_1$ & "more"', "</script><b>",
           'style="} main { display: none } .x {" 0.123456']  # fmt: skip
BACKBONES = [
    {"name": "small", "model": "resnet18", "pretraining": "ImageNet"},
    {"name": "large", "model": "resnet50", "pretraining": "ImageNet"},
    {"name": "other", "model": "vgg11", "weights": "none"},
    {"name": "vit_s", "model": "vit_small_patch14_dinov2.lvd142m"},
    {"name": "vit_b", "model": "vit_base_patch14_dinov2.lvd142m"},
    {"name": "vit_l", "model": "vit_large_patch14_dinov2.lvd142m"},
]
AUROCS = {
    f"{name}/{mode}": 0.7 + 0.03 * place + (0.02 if mode == "full" else 0)
    for place, name in enumerate(("other", "small", "large", "vit_s", "vit_b", "vit_l"))
    for mode in ("frozen", "full")
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a simulated sweep of 72 cells: 6 datasets, 6 backbones, 2 modes."""
    folder = tmp_path_factory.mktemp("report")
    datasets = [{"name": f"set_{i}", "layout": "folder", "path": "x"} for i in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(folder / "cache"))
        sweep = sweep_of(
            AUROCS, "big", 300, shared=0.3, classes=4, names=HOSTILE, datasets=datasets,
            backbones=BACKBONES, budget={"trials": 16, "epochs": 30},
        )  # fmt: skip
        comparison = compare([sweep], Choices("auroc"))
        (folder / "report.html").write_text(report(comparison), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(document: Path) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.said = []  # type: ignore[attr-defined]
        page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.said.append(str(error)))  # type: ignore[attr-defined]
        page.on("dialog", lambda dialog: page.said.append(dialog.message))  # type: ignore[attr-defined]
        page.on("request", lambda request: page.said.append(request.url))  # type: ignore[attr-defined]
        page.goto(document.as_uri())
        yield page
        browser.close()


def texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_a_report_of_72_cells_is_smaller_than_5_megabytes(document: Path) -> None:
    assert document.stat().st_size < 5_000_000
    assert document.read_text("utf-8").count("<svg") >= 6 * 8


def test_it_loads_nothing_and_complains_of_nothing(page: Page, document: Path) -> None:
    assert page.said == [document.as_uri()]  # type: ignore[attr-defined]
    assert page.title().startswith("big: which backbone")


def test_everything_from_the_data_is_escaped(page: Page) -> None:
    assert page.locator("img").count() == 0
    shown = page.locator("details").filter(has_text="Confusion matrices").first.inner_html()
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert page.locator("main").is_visible()
    assert "0.123456" in (page.locator("svg").filter(has_text="</script>").first.text_content())
    headings = page.locator(".confusions table").first.locator("thead th").all_text_contents()
    assert headings == HOSTILE


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(page: Page) -> None:
    heading = page.locator("#scores thead th").nth(3)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    column = "#scores tbody tr td:nth-child(4)"
    values = [float(text.split()[0]) for text in texts(page, column)]
    assert values == sorted(values, reverse=True)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    values = [float(text.split()[0]) for text in texts(page, column)]
    assert values == sorted(values)


def test_names_sort_as_words(page: Page) -> None:
    page.locator("#scores thead th").nth(1).locator("button").click()
    names = texts(page, "#scores tbody tr th")
    assert names == sorted(names)


def test_the_keyboard_sorts(page: Page) -> None:
    heading = page.locator("#scores thead th").nth(0)
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"


def test_typing_shows_the_rows_that_hold_every_word(page: Page) -> None:
    page.locator('input[data-table="scores"]').fill("set_3 FULL")
    assert page.locator("#scores tbody tr:visible").count() == 6
    assert page.locator("#scores-shown").inner_text() == "6 of 72 rows"
    page.locator('input[data-table="scores"]').fill("")
    assert page.locator("#scores tbody tr:visible").count() == 72


def test_light_and_dark_and_print_have_their_colours(page: Page) -> None:
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    assert paper() == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert paper() == "rgb(20, 23, 27)"
    page.emulate_media(color_scheme="dark", media="print")
    assert paper() == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")


def test_a_figure_is_drawn_in_text_and_lines_of_the_page(page: Page) -> None:
    figure = page.locator("figure svg").first
    assert "AUROC on test" in (figure.text_content() or "")
    assert figure.get_attribute("role") == "img"
    assert "set_0: AUROC of each cell" in (figure.get_attribute("aria-label") or "")
    colours = page.evaluate(
        "[...document.querySelectorAll('figure text')].map(t => getComputedStyle(t).fill)"
    )
    assert len(set(colours)) <= 2  # ink, and what a library wrote in it


def test_a_narrow_screen_does_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})


def test_it_says_how_the_numbers_came_about(page: Page) -> None:
    text = page.locator("main").inner_text()
    for said in (
        "by the mean placements over the confirmations", "Satterthwaite", "Holm", "seed 0",
        "16 trials of 30 epochs", "train 800 of 400 groups", "timm resnet18", "fingerprint f",
        "weights wsmall", "TRIPOD+AI", "CLAIM",
    ):  # fmt: skip
        assert said in text, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.evaluate("for (const item of document.querySelectorAll('details')) item.open = true")
    # Of six parts that are made alike one is enough, and a sixth of the time.
    page.evaluate(
        "for (const n of [2, 3, 4, 5, 6]) document.getElementById(`dataset-${n}`)"
        "?.parentElement.remove()"
    )
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, results.generate_report()
