"""A person before the pages of Argilla, in a real browser."""

import os
import shutil
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Dialog, Locator, Page, Playwright, Request, ViewportSize

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
VIEWPORT: ViewportSize = {"width": 1280, "height": 800}


def chromium() -> str | None:
    """The browser of this machine."""
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


def started(playwright: Playwright, executable: str) -> Browser:
    """Chromium keeps no sandbox for root, and does not start with one."""
    return playwright.chromium.launch(
        executable_path=executable, args=["--no-sandbox"] if os.geteuid() == 0 else [], timeout=120_000
    )


class Reader:
    """What somebody sees and does. `requests` are all that the pages have sent, or tried to; `dialogs` what they asked."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.requests: list[Request] = []
        self.dialogs: list[str] = []
        self.page: Page = browser.new_context(viewport=VIEWPORT).new_page()
        self.page.set_default_timeout(60_000)  # a busy machine is no fault of the page
        self.page.on("request", self.requested)
        self.page.on("dialog", self.asked)
        self.page.goto(url)

    def requested(self, request: Request) -> None:
        self.requests.append(request)

    def asked(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def signs_in(self, username: str, password: str) -> None:
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def opens(self, link: str) -> None:
        self.page.goto(link)

    def reads(self, text: str) -> None:
        """Wait until the record with this text is the one before them."""
        self.page.get_by_text(text, exact=True).wait_for()

    def label(self, name: str) -> Locator:
        return self.page.get_by_role("group", name="Label-Options").get_by_title(name, exact=True)

    def chosen(self) -> list[str]:
        """The labels that are selected, as the page shows it."""
        return self._titles("label.label-active")

    def suggested(self) -> list[str]:
        """The labels that are marked as a suggestion."""
        return self._titles("label:has(.label-text__suggestion)")

    def _titles(self, labels: str) -> list[str]:
        return [str(each.get_attribute("title")) for each in self.page.locator(labels).all()]

    def is_done(self) -> None:
        """Wait until no record is left."""
        self.page.get_by_text("no pending records").wait_for()

    def submits(self) -> None:
        self.page.get_by_role("button", name="Submit").click()

    def presses(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def outside(self) -> list[str]:
        """Addresses of other machines that were asked: what the page's own policy held back was not."""
        return [
            request.url
            for request in self.requests
            if urlsplit(request.url).scheme not in {"data", "blob"}
            and urlsplit(request.url).hostname != "127.0.0.1"
            and request.failure != "csp"
        ]
