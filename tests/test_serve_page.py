"""The page of `serve` in Debian's Chromium, as a person would use it: by keyboard, on a desk and on a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import chromium, served

from inference.scorer import EmpathyScorer
from inference.web.app import build_app
from inference.web.talking import Talker

pytestmark = pytest.mark.browser

POST = "I lost my job in March and can't sleep."
RESPONSE = "I am so sorry 💛 you carry this. What happened then?"


@pytest.fixture(scope="module")
def browser():
    driver = chromium()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def scorer(trained: Any) -> EmpathyScorer:
    return EmpathyScorer.load(trained.folder)


@pytest.fixture(scope="module")
def url(talkers: dict[str, Path], scorer: EmpathyScorer):
    with served(build_app(scorer, Talker(talkers["tagged"], talkers["classifier"]))) as address:
        yield address


@pytest.fixture
def page(browser, url):
    browser.get(url)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "html[data-ready]"))
    yield browser
    errors = browser.get_log("browser")
    browser.get("about:blank")
    assert errors == []


def until(page, condition):
    WebDriverWait(page, 30, 0.02).until(lambda _: condition())


def press(page, *keys):
    page.switch_to.active_element.send_keys(*keys)


def focused(page):
    return page.execute_script("return document.activeElement.id || document.activeElement.textContent")


def every(page, selector):
    """The texts of elements, all at one moment."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText.trim())", selector
    )


def read(page, text=RESPONSE, post=POST):
    """Types as a person does, from the response that has the focus."""
    press(page, text, Keys.SHIFT, Keys.TAB, Keys.NULL, post)
    shown = lambda: page.execute_script("return document.querySelector('#reading .response')?.textContent ?? ''")  # noqa: E731
    settled = "return !document.querySelector('#reading').classList.contains('stale')"
    until(page, lambda: text in plain(shown()) and page.execute_script(settled))


def plain(shown):
    for tag in ("ER", "IP", "EX"):
        shown = shown.replace(f"{tag} rationale of model: ", "")
    return shown


def test_a_response_is_read_as_one_writes(page, scorer):
    read(page)
    score = scorer.score((POST, RESPONSE))
    verdicts = every(page, "#reading .verdict")
    assert verdicts == [["none", "weak", "strong"][level] for level in score.levels.values()]
    shares = every(page, "#reading .share")
    expected = [f"{share:.2f}" for shares in score.probabilities.values() for share in shares]
    assert [share.split()[1] for share in shares] == expected
    for mechanism, tag in (("emotional_reactions", "ER"), ("interpretations", "IP"), ("explorations", "EX")):
        marked = "".join(
            page.execute_script("return arguments[0].textContent", mark)
            for mark in page.find_elements(By.CSS_SELECTOR, f"#reading mark[data-predicted~={tag}]")
        )
        spans = score.rationales[mechanism] if score.levels[mechanism] else []
        assert marked == "".join(RESPONSE[start:end] for start, end in spans)  # after an emoji too
    press(page, " Nobody calls any more.")  # the post counts as well as the response
    score = scorer.score((f"{POST} Nobody calls any more.", RESPONSE))
    widths = [round(100 * share, 3) for shares in score.probabilities.values() for share in shares]
    script = (
        "return [...document.querySelectorAll('#reading .share i')].map((bar) => bar.style.getPropertyValue('--w'))"
    )
    until(
        page,
        lambda: [float(width.rstrip("%")) for width in page.execute_script(script)] == pytest.approx(widths, abs=0.002),
    )


def test_an_emptied_response_shows_the_hint_again(page):
    read(page)
    press(page, Keys.TAB)
    assert focused(page) == "answer"
    press(page, Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    until(page, lambda: not page.find_elements(By.CSS_SELECTOR, "#reading .score"))
    assert "As you write" in page.find_element(By.ID, "reading").text


def test_an_answer_that_was_overtaken_is_dropped(page):
    """The first answer is held back until the second one is shown, and can't be called off."""
    page.execute_script("""
      const real = window.fetch;
      window.sent = []; window.held = null;
      window.fetch = (path, options) => {
        const number = window.sent.push(options.body);
        delete options.signal;
        const answer = real(path, options);
        return number > 1 ? answer : new Promise((done) => { window.held = () => answer.then(done); });
      };
    """)
    press(page, "I am so sorry.")
    until(page, lambda: page.execute_script("return window.sent.length") == 1)
    press(page, " What happened then?")
    until(page, lambda: "What happened then?" in page.find_element(By.ID, "reading").text)
    page.execute_script("window.held()")
    page.execute_async_script("setTimeout(arguments[0], 150)")
    assert "What happened then?" in page.find_element(By.ID, "reading").text


def test_keys_are_not_sent_one_by_one(page):
    page.execute_script("""
      const real = window.fetch;
      window.sent = 0;
      window.fetch = (...given) => { window.sent += 1; return real(...given); };
      const field = document.getElementById("answer");
      for (const letter of "What happened then?") {
        field.value += letter;
        field.dispatchEvent(new Event("input"));
      }
    """)
    until(page, lambda: "What happened then?" in page.find_element(By.ID, "reading").text)
    assert page.execute_script("return window.sent") == 1


def test_a_talk_by_keyboard_alone(page):
    press(page, Keys.SHIFT, Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB, Keys.NULL)
    assert focused(page) == "tab-read"
    press(page, Keys.ARROW_RIGHT)
    assert focused(page) == "tab-talk"
    assert page.find_element(By.ID, "talk").is_displayed()
    assert not page.find_element(By.ID, "read").is_displayed()
    for wanted in ("Endpoints", "findahelpline.com", "policy", "anew", "said"):
        press(page, Keys.TAB)
        assert focused(page) == wanted
    press(page, "I failed my exam.", Keys.SHIFT, Keys.ENTER, Keys.NULL, "Nobody knows.", Keys.ENTER)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#turns .strategy button"))
    assert every(page, "#turns .seeker") == ["you\nI failed my exam.\nNobody knows."]
    chosen = page.find_element(By.CSS_SELECTOR, "#turns .strategy b").text
    assert "the classifier's decision" in page.find_element(By.CSS_SELECTOR, "#turns .strategy p").text
    choices = [entry.rpartition(" ")[0] or entry for entry in every(page, "#turns .choices button")]
    labels = [label.split("\n")[0] for label in choices]
    assert sorted(label.rstrip("0123456789. ") for label in labels) == ["Action", "Comforting", "Exploration", "Others"]
    assert page.find_element(By.CSS_SELECTOR, "#turns .choices button").text.startswith(chosen)
    press(page, Keys.SHIFT, Keys.TAB, Keys.NULL)  # the last alternative
    other = focused(page).rstrip("0123456789.")
    assert other != chosen
    press(page, Keys.ENTER)
    until(page, lambda: every(page, "#turns .strategy p") == [f"{other} · your choice"])
    assert focused(page).startswith(other)
    assert len(page.find_elements(By.CSS_SELECTOR, "#turns li")) == 2  # written anew, not added
    press(page, Keys.TAB)
    while focused(page) != "said":
        press(page, Keys.TAB)
    press(page, "Thank you.", Keys.ENTER)
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#turns .supporter .strategy")) == 2)
    assert every(page, "#turns .supporter:first-child .choices") == []
    assert len(page.find_elements(By.CSS_SELECTOR, "#turns .choices")) == 1  # only the last one can be written anew


@pytest.mark.parametrize("size", [(360, 740), (390, 844), (1280, 900)])
def test_the_strategy_of_the_last_response_is_in_sight(page, size):
    emulated = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulated)
    box = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    try:
        page.find_element(By.ID, "tab-talk").click()
        for said in range(1, 6):
            page.find_element(By.ID, "said").send_keys("I failed my exam.", Keys.ENTER)
            until(page, lambda said=said: len(page.find_elements(By.CSS_SELECTOR, "#turns .strategy")) == said)
            shown, covering = (page.execute_script(box, one) for one in ("#turns > :last-child .strategy", "#say"))
            assert 0 <= shown["top"] < shown["bottom"] <= covering["top"] < covering["bottom"] <= size[1]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_policies_side_by_side(page):
    page.find_element(By.ID, "tab-compare").click()
    page.find_element(By.ID, "context").send_keys("My sister moved away.", Keys.CONTROL, Keys.ENTER)
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#policies .strategy")) == 6)
    assert every(page, "#policies h2") == [
        "none", "random", "random prior", "classifier", "classifier sampled", "model",
    ]  # fmt: skip
    tops = {one.rect["y"] for one in page.find_elements(By.CSS_SELECTOR, "#policies article")[:3]}
    assert len(tops) == 1  # side by side
    drawn = every(page, "#policies .strategy p")
    for _ in range(8):
        page.find_element(By.ID, "draw").click()
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#policies .strategy")) == 6)
        if every(page, "#policies .strategy p") != drawn:
            return
    raise AssertionError("nine draws, always the same")


def test_a_phone(page):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        read(page)
        panels = ["tab-read", "tab-talk", "tab-compare"]
        for tab in panels:
            page.find_element(By.ID, tab).click()
            if tab == "tab-talk":
                page.find_element(By.ID, "said").send_keys("I failed my exam.", Keys.ENTER)
                until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#turns .strategy"))
            if tab == "tab-compare":
                page.find_element(By.CSS_SELECTOR, "#side button").click()
                until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#policies .strategy")) == 6)
            assert page.execute_script("return document.documentElement.scrollWidth") == 360
            for button in page.find_elements(By.CSS_SELECTOR, "main section:not([hidden]) button, [role=tab]"):
                box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", button)
                assert box["height"] >= 28
                assert 0 <= box["left"] <= box["right"] <= 360
        page.find_element(By.ID, "tab-read").click()
        top = page.find_element(By.ID, "answer").rect
        assert page.find_element(By.ID, "reading").rect["y"] >= top["y"] + top["height"]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_texts_are_shown_and_never_run(page):
    bad = "<img src=x onerror=document.title='run'><script>document.title='run'</script> &amp;"
    read(page, bad)
    assert page.title == "attune: read and talk"
    assert not page.find_elements(By.CSS_SELECTOR, "#reading img, #reading script")


def test_the_notice_is_plain_and_links_to_help(page):
    notice = page.find_element(By.ID, "notice")
    assert "no help in a crisis" in notice.text
    assert "Nothing you enter is kept." in notice.text
    link = notice.find_element(By.TAG_NAME, "a")
    assert link.get_attribute("href") == "https://findahelpline.com/"
    assert link.get_attribute("rel") == "noopener noreferrer"


def test_a_lost_server_and_a_refusal_are_said(browser, scorer):
    with served(build_app(scorer)) as url:
        browser.get(url)
        assert not browser.find_element(By.ID, "tabs").is_displayed()  # nobody to talk to
        browser.execute_script("document.getElementById('seeker').value = 'long '.repeat(3000)")
        press(browser, "So.")
        until(browser, lambda: browser.find_element(By.ID, "trouble").is_displayed())
        assert "pairs.0.seeker_post: String should have at most 10000" in browser.find_element(By.ID, "trouble").text
    press(browser, " Yes.")
    until(browser, lambda: "server doesn't answer" in browser.find_element(By.ID, "trouble").text)
    browser.get("about:blank")
    browser.get_log("browser")


def test_the_endpoints_page_needs_nothing_from_elsewhere(browser, url):
    browser.get(f"{url}docs")
    until(browser, lambda: len(browser.find_elements(By.TAG_NAME, "article")) == 2)
    assert every(browser, "h2") == ["POST /score", "POST /respond"]
    assert "array of Pair (at least 1, at most 64)" in browser.find_element(By.TAG_NAME, "table").text
    for article in browser.find_elements(By.TAG_NAME, "article"):
        article.find_element(By.TAG_NAME, "button").click()
        answer = article.find_element(By.TAG_NAME, "pre")
        until(browser, lambda answer=answer: answer.text.startswith("200\n"))
        assert {"scores"} == (found := json.loads(answer.text.partition("\n")[2])).keys() or "response" in found
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith(url) for name in loaded)
    assert browser.get_log("browser") == []
    browser.get("about:blank")
