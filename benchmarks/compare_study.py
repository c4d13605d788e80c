"""A comparison from end to end: simulated raters judge a study through its page in headless Chromium.

Run: python benchmarks/compare_study.py STUDY [--key FILE] [--raters 2]
after `python cli.py compare export`. Needs Debian's chromium and chromium-driver. A simulated rater reads the page and
nothing else: it prefers the response with a question in it, then the one that takes up more of the seeker's words, and
answers at random one time in five. So the table shows that all of it works, not which system is better.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import threading
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from experiments.pairwise.command import main as compare
from experiments.pairwise.server import RatingServer
from experiments.pairwise.study import Study


def choice(said: str, responses: list[str], rng: random.Random) -> str:
    """The key that a simulated rater presses."""
    if rng.random() < 0.2:
        return rng.choice("120")
    words = set(re.findall(r"\w{4,}", said.lower()))
    left, right = (("?" in text, len(words.intersection(re.findall(r"\w{4,}", text.lower())))) for text in responses)
    return "0" if left == right else "1" if left > right else "2"


def rate(driver: webdriver.Chrome, url: str, rater: str) -> int:
    """Judges everything as one rater; returns the number of judgements."""
    rng = random.Random(rater)
    driver.get(f"{url}?rater={rater}")
    shown = lambda name: driver.find_element(By.CSS_SELECTOR, name)  # noqa: E731
    for judged in range(100_000):
        WebDriverWait(driver, 30, 0.02).until(
            lambda _, judged=judged: shown("#done").is_displayed() or f", {judged} judged" in shown("#count").text
        )
        if shown("#done").is_displayed():
            return judged
        responses = [one.text for one in driver.find_elements(By.CSS_SELECTOR, "article p")]
        driver.switch_to.active_element.send_keys(choice(shown("#context").text, responses, rng))
    raise AssertionError("no end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--key", help="the key, if it isn't in the study's folder")
    parser.add_argument("--raters", type=int, default=2)
    args = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        with RatingServer(Study(args.study)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for number in range(1, args.raters + 1):
                start = time.monotonic()
                judged = rate(driver, server.url, f"simulated-{number}")
                print(f"simulated-{number}: {judged} judgements in {time.monotonic() - start:.1f} s", file=sys.stderr)
            server.shutdown()
    finally:
        driver.quit()
    compare(["score", str(args.study), *(["--key", args.key] if args.key else [])])


if __name__ == "__main__":
    main()
