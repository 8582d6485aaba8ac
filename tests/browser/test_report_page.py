"""The report in a real browser: its views follow each other, and it reaches for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from nbcorr.notebook.report import report
from nbcorr.recording.arrays import neuron_coords

from . import synthetic

Open = Callable[[Path], Page]
HOSTILE = "</script><img src=x onerror=alert(1)><b>layer</b>"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorded = synthetic.recording(n=1500, twins=3)
    correlated = synthetic.correlates(recorded)
    top = synthetic.strongest(correlated, 20)
    return report(
        tmp_path_factory.mktemp("report") / "neurons.html",
        recorded,
        correlated,
        exemplars=synthetic.exemplars(top),
        visualizations=synthetic.visualizations(top),
    )


def shown(page: Page) -> int:
    return int(page.locator("output.count").inner_text().split()[0])


def first_rows(page: Page, column: int, n: int = 5) -> list[str]:
    return page.locator(f".neurons tbody td:nth-child({column})").all_inner_texts()[:n]


def slider(page: Page) -> Locator:
    return page.get_by_role("slider", name="Threshold")


def test_the_page_opens_with_its_story(full: Path, static_page: Open, shots: Path) -> None:
    page = static_page(full)
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Neurons that know what the baseline does not"
    )
    expect(page.locator(".sentence")).to_contain_text("An association is not yet use")
    cells = [int(text.replace(",", "")) for text in page.locator(".cell strong").all_inner_texts()]
    assert sum(cells) == 1500
    assert shown(page) == 160
    expect(page.locator(".marks .possible")).to_have_text(re.compile(r"largest possible 0\.\d\d"))
    rungs = [int(text) for text in page.locator(".rung strong").all_inner_texts()]
    assert rungs[1:] == sorted(rungs[1:], reverse=True)
    assert rungs[0] == 160
    page.screenshot(path=shots / "report-light.png")


def test_layers_and_controls_filter_every_view(full: Path, static_page: Open) -> None:
    page = static_page(full)
    page.get_by_role("button", name="features.3, 40 neurons").click()
    assert shown(page) == 40
    expect(page.locator(".neurons tbody tr")).to_have_count(40)
    assert all(name.startswith("features.3:") for name in first_rows(page, 1))
    page.get_by_role("button", name="classifier.1, 40 neurons").click()
    assert shown(page) == 80
    page.get_by_role("button", name="all", exact=True).click()
    page.locator(".rung", has_text="Beyond untrained").click()
    survivors = shown(page)
    assert 0 < survivors < 25
    expect(page.locator(".neurons tbody tr")).to_have_count(survivors)
    assert set(first_rows(page, 2)) <= {"Beyond untrained", "Beyond the input"}


def test_the_threshold_moves_by_keyboard_and_mouse(full: Path, static_page: Open) -> None:
    page = static_page(full)
    slider(page).focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".says")).to_have_text("|ρ| ≥ 0.12")
    by_keyboard = shown(page)
    assert 0 < by_keyboard < 160
    box = slider(page).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.12, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert shown(page) < by_keyboard
    page.get_by_role("radio", name="q", exact=True).check()
    assert shown(page) == 160
    slider(page).fill("1.3")
    expect(page.locator(".says")).to_have_text("q ≤ 0.050")
    assert shown(page) == int(page.locator(".rung strong").nth(2).inner_text())
    slider(page).press("End")
    assert shown(page) <= 1


def test_columns_sort_both_ways(full: Path, static_page: Open) -> None:
    page = static_page(full)
    head = page.get_by_role("button", name="q", exact=True)
    head.click()
    expect(page.locator("th[data-key=q]")).to_have_attribute("aria-sort", "ascending")
    values = [float(text.replace("−", "-")) for text in first_rows(page, 5, 50)]
    assert values == sorted(values)
    head.click()
    expect(page.locator("th[data-key=q]")).to_have_attribute("aria-sort", "descending")
    values = [float(text.replace("−", "-")) for text in first_rows(page, 5, 50)]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name=re.compile("Show 60 more")).click()
    assert first_rows(page, 5, 200)[-1] == "–"


def test_a_card_opens_from_the_table_and_from_the_map(
    full: Path, static_page: Open, shots: Path
) -> None:
    page = static_page(full)
    card = page.locator(".card")
    second = page.locator(".neurons tbody tr").nth(1)
    name = second.locator("button").inner_text()
    second.locator("button").focus()
    page.keyboard.press("Enter")
    expect(card.locator(".label")).to_have_text(name)
    expect(second).to_have_attribute("aria-selected", "true")
    expect(card.locator(".rungs .passed")).to_have_count(5)
    expect(card.locator(".exemplar")).to_have_count(9)
    expect(card.locator("img.mask")).to_have_count(9)
    broken = "images => images.filter(i => !(i.complete && i.naturalWidth > 0)).length"
    assert card.locator("img").evaluate_all(broken) == 0
    card.get_by_label("where it is active").uncheck()
    expect(card.locator("img.mask")).to_have_count(0)
    expect(card.locator(".strips .box")).to_have_count(4)

    page.locator(".map canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    tip = page.locator(".tip strong").inner_text()
    page.keyboard.press("Enter")
    expect(card.locator(".label")).to_have_text(tip)
    page.locator(".views").scroll_into_view_if_needed()
    page.screenshot(path=shots / "report-card.png")


def test_a_point_is_clicked_on_the_map(full: Path, static_page: Open) -> None:
    page = static_page(full)
    page.locator(".rung", has_text="Beyond untrained").click()
    canvas = page.locator(".map canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    wanted = page.locator(".tip strong").inner_text()
    place = page.locator(".tip").evaluate("tip => [tip.style.left, tip.style.right]")
    box = canvas.bounding_box()
    assert box is not None
    x = (
        float(place[0][:-2]) - 12
        if place[0] != "auto"
        else box["width"] - float(place[1][:-2]) + 12
    )
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    card = page.locator(".card .label")
    for y in range(20, int(box["height"]) - 50, 8):
        page.mouse.click(box["x"] + x, box["y"] + y)
        if card.inner_text() == wanted:
            return
    raise AssertionError(f"no click at x = {x} opened {wanted}")


def test_light_and_dark(full: Path, static_page: Open, shots: Path) -> None:
    page = static_page(full)
    colour = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    assert sum(map(int, re.findall(r"\d+", dark))) < sum(map(int, re.findall(r"\d+", light))) / 4
    page.screenshot(path=shots / "report-dark.png")
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(colour) == light
    page.set_viewport_size({"width": 600, "height": 1000})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 600
    page.screenshot(path=shots / "report-narrow.png", full_page=True)


def test_missing_parts_are_named(static_page: Open, tmp_path: Path, shots: Path) -> None:
    recorded = synthetic.recording()
    correlated = synthetic.correlates(recorded, controls=False)
    bare = recorded.drop_vars(["label", "prediction", "baseline"])
    page = static_page(report(tmp_path / "bare.html", bare, correlated))
    expect(page.locator(".outcomes")).to_contain_text("no answers of both systems")
    expect(page.locator(".ladder")).to_contain_text("no untrained twins were recorded")
    expect(page.locator(".rung.absent")).to_have_count(3)
    card = page.locator(".card")
    expect(card).to_contain_text("Not rendered for this neuron.")
    expect(card).to_contain_text("None were collected for this neuron.")
    expect(card.locator(".rungs .unknown")).to_have_count(3)
    page.screenshot(path=shots / "report-bare.png")


def test_hostile_names_stay_text(static_page: Open, tmp_path: Path) -> None:
    recorded = synthetic.recording(units=8, layers=("a",))
    names = [HOSTILE] * 8
    hostile = recorded.drop_vars(["neuron", "layer", "unit"])
    hostile = hostile.assign_coords(neuron_coords(names, range(8)))
    correlated = synthetic.correlates(hostile).assign_attrs(
        sentence=HOSTILE,
        model="javascript:alert(1)",
        controls_missing=[HOSTILE, f"untrained: {HOSTILE}"],
    )
    top = [(HOSTILE, int(unit)) for unit in np.arange(8)]
    shown_samples = synthetic.exemplars(top, ranks=2)
    ids = np.full((8, 2), HOSTILE)
    shown_samples = shown_samples.assign(sample=(("neuron", "rank"), ids))
    page = static_page(
        report(tmp_path / "h.html", hostile, correlated, exemplars=shown_samples, title=HOSTILE)
    )
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".sentence")).to_have_text(HOSTILE)
    expect(page.locator(".card .label")).to_contain_text(HOSTILE)
    expect(page.locator(".neurons tbody button").first).to_contain_text(HOSTILE)
    assert page.title() == HOSTILE
    assert page.locator("main b, main script, img[src=x]").count() == 0
    assert page.locator(".exemplar").first.get_attribute("title").startswith(f"sample {HOSTILE}")


def test_two_thousand_neurons_stay_quick(static_page: Open, tmp_path: Path) -> None:
    recorded = synthetic.recording(n=300, units=500)
    page = static_page(report(tmp_path / "many.html", recorded, synthetic.correlates(recorded)))
    assert page.locator("output.count").inner_text() == "2,000 of 2,000 neurons"
    moved = page.evaluate(
        """() => {
          const slider = document.querySelector('.track input');
          const start = performance.now();
          for (let i = 1; i <= 10; i++) {
            slider.value = String(i / 100);
            slider.dispatchEvent(new Event('input'));
          }
          return (performance.now() - start) / 10;
        }"""
    )
    assert moved < 150
