"""The page of a report: complete, escaped, in one file. What it does in a browser: tests/browser."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.page import report_page
from gansmith.report import Interval, Score
from tests import reports

VOID = {"meta", "img", "input"}
HOSTILE = "\"><script>alert(1)</script>&'<b>"


class Checked(HTMLParser):
    """Fails on tags that are not closed in order; collects tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page() -> str:
    return report_page(reports.report(), reports.exhibit())


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Checked(page).text))


def test_page_says_what_was_measured_against_what_and_how_to_repeat_it(page):
    text = text_of(page)
    for part in (
        "10,000 samples of dcgan-small, 28x28, against the 60,000 train images of mnist, through classifier features",
        "21 November 2026, 18:02 UTC", "205,952", "4 min 0 s", "9f2c3a4b5d6e7f80", "c0ffee5949357318",
        "99.44 % (99.27 % to 99.57 %)", "10,000: its test split", "2.13.0+cpu", "non_saturating",
        "chosen by auto for 28x28 grey images", reports.report().command,
    ):  # fmt: skip
        assert part in text, part


def test_every_score_has_value_interval_protocol_and_what_real_images_get(page):
    text = text_of(page)
    for part in (
        "Fréchet distance (classifier features)", "fd_classifier", "12.34", "0.31",
        "10,000 samples against 60,000 images of train",
        "jackknife over 20 groups, t(19)", "Wilson, 10,000 samples", "reverse kl", "0.01230",
        "passes: no closer to training images", "a class may be hit by noise",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "for 10,000 of the 10,000 real images that no generator trained on (its test split)"),
    ({"num_samples": 500}, "for 500 of the 10,000 real images that no generator trained on"),
    ({"num_held_out": 359}, "for 359 of the 359 real images that no generator trained on (its test split): what a "
                            "perfect generator gets. It is not measured where a score depends on the count"),
    ({"num_held_out": 0}, "There are no held-out real images to compare with."),
    ({"split": "test"}, "most scores have no other real images to show what a perfect generator gets"),
])  # fmt: skip
def test_how_many_real_images_the_held_out_column_is_for_is_said(changes, said):
    text = text_of(report_page(reports.report(**changes), Exhibit()))
    assert said in text
    assert ("“Real images get”" in text) == ("real images that no generator" in said)


def test_page_says_where_samples_were_compared_with_a_part_of_the_real_images():
    text = text_of(report_page(reports.report(num_compared=5_000), Exhibit()))
    assert "against 5,000 of the 60,000 train images of mnist" in text
    assert "Images compared with 5,000 of 60,000" in text


def test_page_says_what_shape_the_real_images_had():
    text = text_of(report_page(reports.report(original="32x32, 3 channels"), Exhibit()))
    assert "the 60,000 train images of mnist (brought from 32x32, 3 channels), through" in text
    assert "Brought from 32x32, 3 channels" in text
    assert "rought from" not in text_of(report_page(reports.report(), Exhibit()))


def test_score_without_an_interval_says_none():
    score = Score(name="s", title="S", value=1.5, protocol="p")
    page = report_page(reports.report(scores=(score,)), Exhibit())
    assert '<td class="number" data-empty="" data-label="95 % interval">none</td>' in page
    assert '<td class="number value" data-label="Value">1.500</td>' in page


def test_score_without_value_says_why(page):
    assert "no value: the extra `fid` is not installed" in text_of(page)


def test_flagged_score_is_said_at_the_top_too():
    score = reports.share("near_copies", "Near copies", 0.9, 0.89, 0.91, verdict="flagged: 90 % are copies")
    page = report_page(reports.report(scores=(score,)), Exhibit())
    assert '<p class="banner"><b>Near copies</b> flagged: 90 % are copies</p>' in page
    assert '<p class="verdict bad">flagged: 90 % are copies</p>' in page


def test_verdict_that_neither_passes_nor_is_flagged_is_shown_as_neither():
    score = reports.share("adversarial", "Told apart", 0.9, 0.89, 0.91, better="none", verdict="told apart: 90 %")
    assert '<p class="verdict ">told apart: 90 %</p>' in report_page(reports.report(scores=(score,)), Exhibit())


def test_warning_of_many_scores_is_said_once():
    scores = tuple(
        Score(name=f"s{i}", title=f"S{i}", value=1.0, protocol="p", warnings=("only 500 samples",)) for i in range(4)
    )
    page = report_page(reports.report(scores=scores), Exhibit())
    assert page.count("only 500 samples") == 1
    assert "4 of 4 scores: only 500 samples" in page


def test_long_lists_among_details_are_cut_short():
    pairs = [{"sample": index, "training_image": 7} for index in range(9)]
    score = Score(name="s", title="S", value=1.0, protocol="p", details={"worst_pairs": pairs, "few": [1, 2]})
    text = text_of(report_page(reports.report(scores=(score,)), Exhibit()))
    assert "worst pairs sample 0, training image 7; sample 1" in text
    assert "sample 5, training image 7; 3 more in report.json" in text
    assert "few 1, 2" in text


def test_interval_without_width_is_no_obstacle():
    score = Score(name="s", title="S", value=0.0, protocol="p", interval=Interval(low=0, high=0, method="m"))
    assert "0 to 0" in report_page(reports.report(scores=(score,)), Exhibit())


def test_page_asks_nobody_for_anything(page):
    checked = Checked(page)
    policy = checked.all("meta")[1]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    assert all(image["src"].startswith("data:image/") for image in checked.all("img"))
    assert {tag for tag, _ in checked.tags}.isdisjoint({"link", "iframe", "object", "form", "a"})


def test_pictures_have_words_and_tables_have_headers(page):
    checked = Checked(page)
    assert all(image["alt"] for image in checked.all("img"))
    assert all(header["scope"] in ("row", "col") for header in checked.all("th"))
    assert all(chart.get("aria-label") or chart.get("aria-hidden") for chart in checked.all("svg"))
    assert len(checked.all("h1")) == 1


@pytest.mark.parametrize("field", [
    "name", "path", "held_out", "command", "class_names", "note", "recipe_name", "environment", "created", "split",
])  # fmt: skip
def test_what_users_wrote_is_only_text(field):
    if field == "split":  # in the config, and of pictures and scores
        report = reports.report(scores=(Score(
            name=HOSTILE, title=HOSTILE, value=1.0, protocol=HOSTILE, verdict=HOSTILE, warnings=(HOSTILE,),
            details={HOSTILE: HOSTILE},
        ),))  # fmt: skip
        pictures = tuple(
            dataclasses.replace(picture, title=HOSTILE, caption=HOSTILE, alt=HOSTILE)
            for picture in reports.exhibit().pictures
        )
        exhibit = dataclasses.replace(reports.exhibit(), pictures=pictures, recipe_yaml=HOSTILE, config_note=HOSTILE)
    else:
        value = {"class_names": (HOSTILE,), "environment": {HOSTILE: HOSTILE}}.get(field, HOSTILE)
        report, exhibit = reports.report(**{field: value}), reports.exhibit()
    page = report_page(report, exhibit)
    assert HOSTILE not in page
    assert page.count("<script>") == 1
    assert HOSTILE in text_of(page)


def test_path_that_is_no_utf8_can_be_shown():
    assert "caf?" in report_page(reports.report(path="caf\udce9"), Exhibit())


def test_page_of_somebodys_images_has_no_training(page):
    report = reports.report(kind="images", recipe_name=None, recipe_id=None, training_seed=None, images_seen=None,
                            training_seconds=None)  # fmt: skip
    text = text_of(report_page(report, Exhibit()))
    assert "10,000 images of dcgan-small" in text
    for word in ("Training time", "Recipe", "Over time", "Curves", "Pictures", "None"):
        assert word not in text


def test_one_frame_needs_no_slider():
    assert "<input" not in report_page(reports.report(), reports.exhibit(1))
    assert "<input" in report_page(reports.report(), reports.exhibit(2))
