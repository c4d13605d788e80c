"""The rating page in Debian's Chromium, as a person would use it."""

import json
import re
import shutil
import subprocess
import sys
import threading

import pytest
from pairwise_studies import make_study, write_rows
from running import ROOT, lines, succeed
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from experiments.pairwise.command import main
from experiments.pairwise.server import RatingServer
from experiments.pairwise.study import Study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, tmp_path, request):
    make_study(tmp_path, contexts=getattr(request, "param", 6))
    with RatingServer(Study(tmp_path / "study")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        browser.get(server.url)
        yield browser
        errors = browser.get_log("browser")
        browser.get("about:blank")
        server.shutdown()
        thread.join()
    assert errors == []


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def until(page, condition):
    WebDriverWait(page, 20, poll_frequency=0.02).until(lambda _: condition())


def press(page, *keys):
    page.switch_to.active_element.send_keys(*keys)


def begin(page, name="anna"):
    press(page, name, Keys.ENTER)  # the field has the focus
    until(page, lambda: text(page, "#who") == name)


def judge(page, key, count):
    press(page, key)
    until(page, lambda: text(page, "#count").startswith(count))


def judgements(tmp_path, rater="00-anna"):
    lines = (tmp_path / f"study/judgements/{rater}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_study_by_keyboard_alone(page, tmp_path):
    begin(page)
    assert text(page, "#count") == "1 of 6, 0 judged"
    assert text(page, "#question") == "Which response is more helpful and supportive?"
    assert text(page, "article:nth-child(1) h2") == "Response 1\n3 words"
    shown = [text(page, f"article:nth-child({side}) p") for side in (1, 2)]
    number = shown[0][-1]
    assert text(page, "#context") == f"seeker\nworry {number}"
    judge(page, "1", "2 of 6, 1")
    judge(page, "2", "3 of 6, 2")
    judge(page, "0", "4 of 6, 3")
    judge(page, Keys.BACKSPACE, "3 of 6, 3")
    assert page.find_element(By.CSS_SELECTOR, "[data-choice='0']").get_attribute("aria-pressed") == "true"
    judge(page, Keys.ARROW_LEFT, "2 of 6, 3")
    assert page.find_elements(By.CSS_SELECTOR, "article.chosen h2")[0].text.startswith("Response 2")
    judge(page, "1", "4 of 6, 3")  # on to the first that isn't judged
    for key, count in (("1", "5 of 6, 4"), ("1", "6 of 6, 5")):
        judge(page, key, count)
    press(page, "2")
    until(page, lambda: page.find_element(By.ID, "done").is_displayed())
    assert not page.find_element(By.ID, "task").is_displayed()
    press(page, "1")  # nothing left to judge
    press(page, Keys.BACKSPACE)
    until(page, lambda: text(page, "#count") == "6 of 6, 6 judged")
    kept = judgements(tmp_path)
    assert [one["choice"] for one in kept] == ["first", "second", "tie", "first", "first", "first", "second"]
    assert len({one["task"] for one in kept}) == 6
    assert kept[3]["task"] == kept[1]["task"]


def test_a_reload_goes_on_and_a_second_rater_starts_anew(page, tmp_path):
    begin(page)
    judge(page, "1", "2 of 6, 1")
    page.refresh()
    until(page, lambda: text(page, "#count") == "2 of 6, 1 judged")
    page.get(page.current_url.partition("?")[0])
    begin(page, "ben")
    assert text(page, "#count") == "1 of 6, 0 judged"
    judge(page, "1", "2 of 6, 1")
    assert [one["choice"] for one in judgements(tmp_path, "01-ben")] == ["second"]  # its sides are the other way round


@pytest.mark.parametrize("page", [40], indirect=True)
def test_forty_contexts_judged_by_two_come_out_as_they_went_in(page, tmp_path, capsys):
    # both say tie on contexts 0 to 7 and tagged on 8 to 27; on 28 to 39 anna says plain and ben tagged
    for rater in ("anna", "ben"):
        page.get(page.current_url.partition("?")[0])
        begin(page, rater)
        for judged in range(40):
            until(page, lambda judged=judged: f", {judged} judged" in text(page, "#count"))
            sides = page.execute_script(
                "return [...document.querySelectorAll('article p')].map((one) => one.textContent)"
            )
            number = int(sides[0].split()[-1])
            wanted = "plain" if rater == "anna" and number >= 28 else "tagged"
            press(page, "0" if number < 8 else "1" if sides[0].startswith(wanted) else "2")
        until(page, lambda: page.find_element(By.ID, "done").is_displayed())
    assert main(["score", str(tmp_path / "study")]) == 0
    table = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert table[1] == "2 systems, 40 contexts; 80 judgements by 2 people"
    assert "plain : tagged 40 0/100 0.0 50.0 50.0 0.0 [0.0, 16.1] <0.001 <0.001" in table
    assert "plain : tagged, anna 40 38/62 30.0 50.0 20.0 37.5 [22.9, 54.7]" in table
    assert "plain : tagged, ben 40 0/100 0.0 80.0 20.0 0.0 [0.0, 10.7]" in table
    agreed = [line for line in table if line.startswith("anna, ben 40 70.0 ")]
    assert len(agreed) == 1


def test_two_trained_responders_from_dialogues_to_the_table(browser, talkers, tmp_path):
    """Forty contexts; the rater takes the response with more letters, as the page shows them."""
    said = ("I feel low.", "Since when?", "Since spring.", "That is long.")
    rows = []
    for number in range(25):
        spoken = zip(("seeker", "supporter") * 2, said, strict=True)
        rows.append({"id": f"d{number}", "turns": [{"speaker": who, "text": f"{one} {number}"} for who, one in spoken]})
    dialogues = write_rows(tmp_path / "dialogues.jsonl", rows)
    for name, policy in (("plain", "none"), ("tagged", "model")):
        output = tmp_path / f"{name}.jsonl"
        succeed("respond", dialogues, "--checkpoint", talkers[name], "--policy", policy, "--output", output)
    files = [tmp_path / f"{name}.jsonl" for name in ("plain", "tagged")]
    study = tmp_path / "study"
    succeed("compare", "export", *files, "--contexts", dialogues, "--count", 40, "--output", study)
    with RatingServer(Study(study)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        browser.get(f"{server.url}?rater=anna")
        for judged in range(40):
            until(browser, lambda judged=judged: f", {judged} judged" in text(browser, "#count"))
            script = "return [...document.querySelectorAll('article p')].map((one) => one.textContent.length)"
            left, right = browser.execute_script(script)
            press(browser, "0" if left == right else "1" if left > right else "2")
        until(browser, lambda: browser.find_element(By.ID, "done").is_displayed())
        assert browser.get_log("browser") == []
        browser.get("about:blank")
        server.shutdown()
    answers = [{row["id"]: row["response"] for row in lines(file)} for file in files]
    contexts = {task["context"] for task in json.loads((study / "key.json").read_text())["tasks"].values()}
    shown = [[len(said[name]) or len("(an empty response)") for said in answers] for name in contexts]
    wins, losses = sum(one > other for one, other in shown), sum(one < other for one, other in shown)
    table = succeed("compare", "score", study).out
    row = next(line.split() for line in table.splitlines() if line.startswith("plain : tagged"))
    share = [f"{100 * count / 40:.1f}" for count in (wins, losses, 40 - wins - losses)]
    assert row[3:8] == ["40", row[4], *share]
    assert "2 systems, 40 contexts; 40 judgements by 1 person" in table


def test_a_phone(page, tmp_path):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        begin(page)
        assert page.execute_script("return document.documentElement.scrollWidth") == 360
        first, second = (one.rect for one in page.find_elements(By.TAG_NAME, "article"))
        assert second["y"] >= first["y"] + first["height"]
        for button in page.find_elements(By.CSS_SELECTOR, "nav button"):
            box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", button)
            assert box["height"] >= 40
            assert box["bottom"] <= 740  # without scrolling
        page.find_element(By.CSS_SELECTOR, "[data-choice='2']").click()
        until(page, lambda: text(page, "#count").startswith("2 of 6"))
        page.find_element(By.ID, "back").click()
        until(page, lambda: text(page, "#count").startswith("1 of 6"))
        assert [one["choice"] for one in judgements(tmp_path)] == ["second"]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_texts_are_shown_and_never_run(browser, tmp_path):
    from experiments.pairwise.draw import System, draw_study

    bad = "<img src=x onerror=document.title='run'><script>document.title='run'</script> &amp; \u202e"
    contexts = write_rows(tmp_path / "c.jsonl", [{"id": "d", "turns": []}])
    files = [
        System(name, write_rows(tmp_path / f"{name}.jsonl", [{"id": "d:0", "response": response}]))
        for name, response in (("a", bad), ("b", "  "))
    ]
    draw_study(files, contexts, tmp_path / "study", question=bad)
    command = [sys.executable, ROOT / "cli.py", "compare", "rate", tmp_path / "study", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        url = re.search(r"http://127\.0\.0\.1:\d+/", process.stderr.readline())[0]
        browser.get(f"{url}?rater=anna")
        until(browser, lambda: text(browser, "#count") == "1 of 1, 0 judged")
        shown = {one.text for one in browser.find_elements(By.CSS_SELECTOR, "article p")}
        assert "(an empty response)" in shown
        assert any(one.startswith("<img src=x") and "&amp;" in one for one in shown)
        assert text(browser, "#question").startswith("<img")
        assert "Nothing was said yet" in text(browser, "#context")
        assert browser.title == "Which response is better?"
        assert browser.get_log("browser") == []

        process.kill()  # with every connection that the browser keeps ready
        process.wait()
        press(browser, "1")
        until(browser, lambda: browser.find_element(By.ID, "trouble").is_displayed())
        assert text(browser, "#trouble").startswith("Not saved")
        assert text(browser, "#count") == "1 of 1, 0 judged"
    browser.get("about:blank")
    browser.get_log("browser")
