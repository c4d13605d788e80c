"""The audit's page in Debian's Chromium, at the widths of a desk and of a phone."""

import pytest
from clinic import synthesize, write_clinical
from selenium.webdriver.common.by import By
from serving import chromium

import cli

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("audit")
    write_clinical(folder / "clinical.jsonl", 1)
    assert synthesize(folder, folder / "out") == 0
    options = ["--real", str(folder / "clinical.jsonl"), "--model", str(trained.folder), "--encoder", "tfidf"]
    assert cli.main(["audit", str(folder / "out" / "held.jsonl"), *options, "--output", str(folder)]) == 0
    browser = chromium()
    browser.get((folder / "audit.html").as_uri())
    yield browser
    browser.quit()


def at_width(page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways_with_everything_open(page, width):
    at_width(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_what_matters_comes_first_and_figures_say_what_they_show(page):
    at_width(page, 1280)
    verdict = page.find_element(By.CSS_SELECTOR, ".verdict h3")
    assert verdict.text.startswith("Export gate closed: 1 of 5 checks not passed")
    assert verdict.rect["y"] < 600
    assert "Levels by the label" in page.find_element(By.TAG_NAME, "dl").text
    figures = page.find_elements(By.CSS_SELECTOR, "figure svg")
    assert len(figures) > 5
    assert all(figure.get_attribute("role") == "img" and figure.get_attribute("aria-label") for figure in figures)
    page.find_element(By.LINK_TEXT, "Privacy").click()
    assert page.execute_script("return window.scrollY") > 0
