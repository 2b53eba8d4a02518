"""A browser without a window, for tests of pages."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium():
    """Start a browser that records its requests and console; skip the test if there is none."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    browser, driver = next(filter(None, found), None), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no Chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    quiet = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    for argument in (
        "headless=new",
        "no-sandbox",
        "no-first-run",
        *(f"disable-{q}" for q in quiet),
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield running
    finally:
        running.quit()
