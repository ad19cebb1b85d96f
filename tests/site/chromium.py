"""Headless Chromium, with the requests and the console messages of the page that it shows."""

import json
import shutil
import tempfile
from urllib.parse import urlsplit

FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "hide-scrollbars")  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
VIEW = ("Document", "Stylesheet", "Script", "Font")  # what comes before a reader does anything, pictures apart
PHONE, TABLET, DESKTOP = (390, 844), (820, 1180), (1280, 900)


class Browser:
    """One Chromium for the whole run, with the requests and the console messages of the last page."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, NAMES)), "")
        if not (options.binary_location and shutil.which("chromedriver")):
            raise SystemExit("Chromium or its chromedriver is missing; on Debian: apt install chromium chromium-driver")
        self.profile = tempfile.mkdtemp()
        for flag in (*FLAGS, f"user-data-dir={self.profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, address, size=DESKTOP, dark=False):
        """Goes to a page and waits till it is drawn. Returns the driver's script function."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.resize(size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")  # ends what the last page still asks for: a search reads every page it lists
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(address)
        self.driver.set_script_timeout(60)
        self.driver.execute_async_script(
            "const done = arguments[0], math = window.MathJax?.startup?.promise;"
            "Promise.resolve(math).then(() => document.fonts.ready).then(() => setTimeout(done, 50));"
        )
        return self.driver.execute_script

    def resize(self, size):
        """Gives the window another width and height, in pixels; below 600 it is a phone's."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def events(self):
        """What the page did on the network since it was last asked."""
        return [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]

    def requests(self):
        """Addresses that the page asked for; the browser's own pages (chrome://) do not count."""
        asked = [e["params"]["request"]["url"] for e in self.events() if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if urlsplit(address).scheme not in ("data", "chrome", "blob")]

    def weigh(self, address):
        """Opens a page as a first visitor does, with nothing kept of earlier ones. Gives what each address brought:
        its kind (Document, Stylesheet, Script, Font, Image, Other) and bytes, headers included."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        self.open(address)
        self.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
        answers, bytes_of = {}, {}
        for event in self.events():
            told = event["params"]
            if event["method"] == "Network.responseReceived":
                answers[told["requestId"]] = told["response"]["url"], told["type"]
            elif event["method"] == "Network.loadingFinished":
                bytes_of[told["requestId"]] = told["encodedDataLength"]
        return {url: (kind, bytes_of.get(asked, 0)) for asked, (url, kind) in answers.items()
                if urlsplit(url).scheme not in ("data", "chrome", "blob")}  # fmt: skip
