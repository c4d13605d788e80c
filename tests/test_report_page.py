"""The report's page in Debian's Chromium, at the widths of a desk and of a phone."""

import shutil

import pytest
from run_folders import make_experiment
from running import succeed
from selenium import webdriver
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    make_experiment(folder / "augmentation", gain=0.1)
    succeed("report", folder / "augmentation", "--output", folder, "--resamples", 200)
    browser.get((folder / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def at_width(page, width, scheme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_page_never_scrolls_sideways(page, width):
    at_width(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_figures_load_say_what_they_show_and_stay_readable_on_a_phone(page):
    at_width(page, 390)
    figures = page.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(figures) == 4
    for figure in figures:
        natural = page.execute_script("return arguments[0].naturalWidth", figure)
        assert natural > 400
        assert page.execute_script("return arguments[0].clientWidth", figure) == min(natural, 704)
        assert len(figure.get_attribute("alt")) > 40


def test_tables_have_captions_and_headers(page):
    tables = page.find_elements(By.CSS_SELECTOR, "table")
    assert len(tables) >= 6
    for table in tables:
        assert table.find_element(By.TAG_NAME, "caption").text
        columns = len(table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]"))
        for row in table.find_elements(By.CSS_SELECTOR, "tbody tr"):
            assert len(row.find_elements(By.CSS_SELECTOR, "th[scope=row]")) == 1
            assert len(row.find_elements(By.CSS_SELECTOR, "td")) == columns - 1


def test_every_link_leads_somewhere(page):
    links = page.find_elements(By.CSS_SELECTOR, "nav a")
    assert len(links) >= 4
    for link in links:
        target = link.get_attribute("href").partition("#")[2]
        assert page.find_element(By.ID, target).find_element(By.TAG_NAME, "h2").text == link.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    at_width(page, 1280, scheme)
    script = """
      const channel = (v) => (v /= 255, v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
      const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(channel);
        return .2126 * r + .7152 * g + .0722 * b; };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
      let least = 99;
      for (const e of document.querySelectorAll('p, li, td, th, dt, dd, a, summary, mark, figcaption, caption')) {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
        least = Math.min(least, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
      }
      return least;"""
    assert page.execute_script(script) >= 4.5, "WCAG AA"
