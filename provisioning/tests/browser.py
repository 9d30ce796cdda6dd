"""Fixture and helpers for tests that use the portal in headless Chromium."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

T = TypeVar("T")
REQUIRED = os.environ.get("BROWSER") == "required"  # set by `./run test --browser`
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no Chromium here"),
]

Steps = Callable[[Page], T]


class BrowserRunner:
    """Run steps on a new page, in a separate thread.

    Playwright's synchronous API runs an event loop, and Django refuses database queries
    in a thread with a running event loop. The steps fail on JavaScript errors and on
    requests to other hosts.
    """

    def __init__(self, thread: ThreadPoolExecutor, browser: Browser) -> None:
        self.thread, self.browser = thread, browser

    def __call__(self, steps: Steps[T], *, width: int = 1440, dark: bool = False) -> T:
        return self.thread.submit(self._run, steps, width, dark).result(timeout=120)

    def _run(self, steps: Steps[T], width: int, dark: bool) -> T:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: _check_host(request.url, errors))
        try:
            result = steps(page)
        finally:
            context.close()
        assert errors == []
        return result


def _check_host(url: str, errors: list[str]) -> None:
    """Record an error for a request to another host. The portal must not need other hosts."""
    if not url.startswith(("http://localhost:", "data:", "blob:")):
        errors.append(f"request to {url}")


@pytest.fixture(scope="module")
def in_browser() -> Iterator[BrowserRunner]:
    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        launch = playwright.chromium.launch
        browser = thread.submit(lambda: launch(executable_path=CHROMIUM, args=ARGUMENTS)).result()
        yield BrowserRunner(thread, browser)
        thread.submit(browser.close).result()
        thread.submit(playwright.stop).result()


def sign_in(page: Page, base: str, email: str, password: str) -> None:
    page.goto(f"{base}/admin/login/")
    page.fill("#id_username", email)
    page.fill("#id_password", password)
    page.click("button[type=submit]")
    page.wait_for_url(re.compile(rf"{re.escape(base)}(/t/[-\w]+)?/admin/$"))
