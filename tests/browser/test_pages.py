"""The pages of a report and of a comparison, in a browser: nothing fails, nothing is fetched, everything works."""

from __future__ import annotations

import dataclasses

import pytest

from gansmith.cli import main
from gansmith.evaluation.comparison import compare
from gansmith.evaluation.comparison_page import comparison_page
from gansmith.evaluation.markup import document
from gansmith.evaluation.page import report_page
from tests import reports
from tests.conftest import write_images

pytestmark = pytest.mark.browser

LONG = "a_very_long_name_without_any_place_to_break_it_that_a_user_has_given_to_a_run_" * 2
HOSTILE = '<img src="https://example.invalid/x.png" onerror="throw 1"><script>throw 2</script>'


@pytest.fixture(scope="session")
def report_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_page(reports.report(), reports.exhibit()))
    return path


@pytest.fixture(scope="session")
def comparison_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    several = [
        reports.report("dcgan-small", 1.0, 1),
        reports.report("mlp", 1.4, 2, recipe={"loss": "minimax", "generator": {"family": "mlp"}}),
        reports.report("vae", 1.41, 3),
        reports.report(LONG, 0.98, 4),
    ]
    exhibits = [reports.exhibit(1)] * len(several)
    path.write_text(comparison_page(compare(several), several, exhibits, "gansmith compare a b c d"))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_page_opens_without_error_foreign_request_or_sideways_scroll(
    request, browser_page, tmp_path, kind, width, scheme
):
    visit = browser_page(request.getfixturevalue(f"{kind}_file"), width, scheme)
    visit.page.screenshot(path=tmp_path / f"{kind}-{scheme}-{width}.png", full_page=True)
    assert visit.is_fine()
    assert not visit.scrolls_sideways()


@pytest.mark.slow
def test_pages_of_trained_runs_open_and_show_their_grids(browser_page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = str(write_images(tmp_path / "noise", 300, mode="RGB"))
    for loss in ("hinge", "minimax"):
        main(["train", data, "--recipe", "mlp", "--images", "256", "--set", f"loss={loss}", "--out", loss, "--quiet"])
    main(["compare", "hinge", "minimax", "--samples", "300", "--quiet"])
    for path, num_pictures in (("hinge/report.html", 3), ("comparison-1/comparison.html", 2)):
        visit = browser_page(tmp_path / path, 390)
        visit.page.screenshot(path=tmp_path / f"{path.replace('/', '-')}.png", full_page=True)
        assert visit.is_fine()
        assert not visit.scrolls_sideways()
        assert visit.page.locator("img:visible").count() >= num_pictures
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.slow
def test_report_of_a_run_on_digits_opens_with_every_score(browser_page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["train", "digits", "--recipe", "dcgan-small", "--images", "3k", "--out", "run", "--quiet"])
    main(["evaluate", "run", "--data", "digits", "--samples", "1k", "--quiet"])
    visit = browser_page(tmp_path / "run" / "report.html")
    visit.page.screenshot(path=tmp_path / "run.png", full_page=True)
    assert visit.is_fine()
    text = visit.page.inner_text("body")
    for name in ("fd_classifier", "kd_classifier", "recall_classifier", "classes_hit", "reverse_kl", "memorisation"):
        assert name in text
    assert "passes: " in text
    assert "gansmith evaluate run --data" in text
    assert visit.page.locator("input[type=range]").count() == 1


def test_themes_differ_and_text_stands_out_in_both(browser_page, report_file):
    grounds = []
    for scheme in ("light", "dark"):
        page = browser_page(report_file, scheme=scheme).page
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for selector in ("body", ".intro", ".warning", ".verdict", "thead th", ".reason", "code"):
            assert page.evaluate(CONTRAST, selector) >= 4.5, (scheme, selector)
    assert grounds[0] != grounds[1]


CONTRAST = """selector => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  let behind = element;
  while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const pair = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)].sort();
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def shown(page) -> list[str]:
    return page.eval_on_selector_all(".frames img:not([hidden])", "images => images.map(i => i.dataset.caption)")


def test_slider_moves_the_frame_by_keyboard(browser_page, report_file):
    page = browser_page(report_file).page
    assert shown(page) == ["128,000 images seen"]
    page.focus(".player input")
    page.keyboard.press("Home")
    assert shown(page) == ["0 images seen"] == [page.inner_text(".seen")]
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["25,600 images seen"]
    assert page.get_attribute(".player input", "aria-valuetext") == "25,600 images seen"


def test_play_runs_from_the_first_frame_to_the_newest_and_stops(browser_page, report_file):
    page = browser_page(report_file).page
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.click(".play")
    assert shown(page) == ["0 images seen"]
    page.clock.run_for(800)
    assert shown(page) == ["51,200 images seen"]
    assert page.get_attribute(".play", "aria-label") == "Pause"
    page.clock.run_for(5000)
    assert shown(page) == ["128,000 images seen"]
    assert page.get_attribute(".play", "aria-label") == "Play"


def test_chart_tells_the_values_under_the_pointer(browser_page, report_file):
    visit = browser_page(report_file)
    chart = visit.page.locator(".chart").first
    newest = chart.locator("output").inner_text()
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg[data-x]").bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 0.12, box["y"] + box["height"] / 2)
    assert chart.locator(".at").inner_text() == "at 25,000"
    assert float(chart.locator("output").inner_text().replace(",", "")) == pytest.approx(1012, rel=0.01)
    visit.page.mouse.move(0, 0)
    assert chart.locator("output").inner_text() == newest
    assert visit.is_fine()


def test_paper_shows_every_protocol_and_no_controls(browser_page, report_file):
    visit = browser_page(report_file, scheme="dark")
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not visit.page.is_visible(".controls")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.locator("#scores details:not([open])").count() == 0
    assert visit.page.locator("#recipe details[open]").count() == 0
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visit.page.locator("#scores details[open]").count() == 0


def test_without_a_script_the_newest_frame_and_everything_else_is_there(browser_page, report_file):
    page = browser_page(report_file, java_script_enabled=False).page
    assert page.is_visible(".frames img:not([hidden])")
    assert page.locator(".scores tbody").count() == len(reports.scores())


def test_markup_in_names_is_shown_and_not_run(browser_page, tmp_path):
    path = tmp_path / "hostile.html"
    report = reports.report(HOSTILE, held_out=HOSTILE, class_names=(HOSTILE,), note=HOSTILE, command=HOSTILE)
    exhibit = dataclasses.replace(reports.exhibit(), recipe_yaml=f"</pre>{HOSTILE}", config_note=HOSTILE)
    path.write_text(report_page(report, exhibit))
    visit = browser_page(path, 390)
    assert visit.is_fine()
    assert not visit.scrolls_sideways()
    assert visit.page.inner_text("h1") == HOSTILE


def test_policy_stops_what_escaping_would_let_through(browser_page, tmp_path):
    path = tmp_path / "leak.html"
    path.write_text(document("leak", '<img src="https://example.invalid/x.png">'))
    visit = browser_page(path)
    assert visit.page.eval_on_selector("img", "image => image.naturalWidth") == 0
    assert any("Content Security Policy" in error for error in visit.errors)
