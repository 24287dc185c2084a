"""The page in a real browser, and the other files in the tools that read them.

Needs Chromium and its driver, promtool, and axe-core: ``AXE`` names its ``axe.min.js``,
``JUNIT_XSD`` a schema of JUnit. ``SCREENSHOTS`` is a folder for screenshots.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.driver import INSTALLED, ROOT, MonitorTest
from tests.test_html import HOSTILE, hostile_record, line

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading import build
from crashenv._reading.frames import Splitter
from crashenv._wire import timestamp

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PROMTOOL = shutil.which("promtool")
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
XSD = os.environ.get("JUNIT_XSD", "")
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DAYS = 14
NOW = 1795600000  # seconds since 1970


def mixed_records(count: int) -> list[dict[str, Any]]:
    """Return records of the corpus of 3.13; each fiftieth is a worker killed by the OOM killer."""
    chosen = random.Random(1)
    records: list[dict[str, Any]] = []
    for path in sorted((ROOT / "tests" / "corpus" / "3.13").glob("*.txt")):
        splitter = Splitter()
        frames = splitter.feed(path.read_bytes()) + splitter.close()
        records += [dict(build.record(frame)) for frame in frames]
    found = []
    for number in range(count):
        when = timestamp((NOW - int(chosen.random() * DAYS * 86400)) * 10**9)
        record = dict(chosen.choice(records))
        if number % 50 == 0:
            text = (
                "killed by SIGKILL from the OOM killer\nProcess 9, child of 7, run time 2.000 s\n"
            )
            record = dict(build.death(9, when, "/srv/app/worker.py", text))
            record.update(command=["python", "worker.py"], parent=7, last_words="batch 77\n")
        record["time"] = when
        found.append(record)
    return sorted(found, key=lambda record: str(record["time"]))


@unittest.skipUnless(CHROMIUM and DRIVER, "no chromium with chromedriver")
class Browser(MonitorTest):
    def page(self, records: list[dict[str, Any]]) -> str:
        source = self.write("records", "".join(map(line, records)))
        path = str(self.folder / "page.html")
        args = [sys.executable, "-m", "crashenv", "html", "-q", "-o", path, source]
        subprocess.run(args, check=True, env=self.env)
        return path

    def open(self, path: str, dark: bool = False, width: int = 1200, script: bool = True) -> Any:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1200,1000",
        ):
            options.add_argument(argument)
        if not script:
            preference = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", preference)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.addCleanup(browser.quit)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get("file://" + path)
        return browser

    def shown(self, browser: Any) -> list[Any]:
        kinds = browser.find_elements("css selector", ".kind")
        return [kind for kind in kinds if kind.is_displayed()]

    def violations(self, browser: Any) -> list[Any]:
        browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
        run = "const done = arguments[1]; axe.run(document, {runOnly: arguments[0]}).then("
        run += "found => done(found.violations.map(v => [v.id, v.nodes[0].html])))"
        found: list[Any] = browser.execute_async_script(run, RULES)
        return found

    @unittest.skipUnless(AXE.exists(), "no axe-core")
    def test_accessible_in_both_themes_and_widths(self) -> None:
        path = self.page(mixed_records(500))
        for dark in (False, True):
            for width in (1200, 390):
                browser = self.open(path, dark, width)
                if SCREENSHOTS:
                    browser.save_screenshot("%s/top-%d-%d.png" % (SCREENSHOTS, dark, width))
                browser.execute_script(
                    "document.querySelectorAll('details').forEach(d => d.open = true)"
                )
                if SCREENSHOTS:
                    browser.save_screenshot("%s/open-%d-%d.png" % (SCREENSHOTS, dark, width))
                self.assertEqual(self.violations(browser), [])
                size = browser.execute_script("return [document.body.scrollWidth, innerWidth]")
                self.assertLessEqual(size[0], size[1])

    @unittest.skipUnless(AXE.exists(), "no axe-core")
    def test_it_would_be_noticed(self) -> None:
        browser = self.open(self.page(mixed_records(5)))
        browser.execute_script(
            "document.querySelector('label').replaceWith(document.createElement('input'))"
        )
        self.assertTrue(self.violations(browser))

    def test_ten_thousand_open_soon_and_answer_in_two_clicks(self) -> None:
        browser = self.open(self.page(mixed_records(10_000)))
        timing = "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd"
        self.assertLess(browser.execute_script(timing), 2000)
        links = browser.find_elements("css selector", ".short a")
        (oom,) = [link for link in links if "OOM killer" in link.text]
        oom.click()
        kind = browser.find_element("css selector", ".kind[open]")
        self.assertIn("batch 77", kind.text)
        (frequent,) = browser.find_elements("css selector", ".short li:nth-child(2) a")
        frequent.click()
        (opened,) = browser.find_elements("css selector", ".kind[open] .exception .own pre")
        self.assertTrue(opened.is_displayed())

    def test_links_open_a_kind_without_a_script(self) -> None:
        browser = self.open(self.page(mixed_records(200)), script=False)
        self.assertFalse(browser.find_element("css selector", "form").is_displayed())
        browser.find_element("css selector", ".short a").click()
        self.assertEqual(len(browser.find_elements("css selector", ".kind[open]")), 1)

    def test_filter_and_keyboard(self) -> None:
        from selenium.webdriver.common.keys import Keys
        from selenium.webdriver.support.wait import WebDriverWait

        browser = self.open(self.page(mixed_records(500)))
        self.assertGreater(len(self.shown(browser)), 5)
        browser.find_element("name", "text").send_keys("OOM killer")
        WebDriverWait(browser, 20).until(lambda _: len(self.shown(browser)) == 1)
        self.assertIn("1 of ", browser.find_element("id", "status").text)
        (kind,) = self.shown(browser)
        kind.find_element("css selector", "summary").send_keys(Keys.ENTER)
        self.assertIsNotNone(kind.get_attribute("open"))

    def test_hostile_records_run_nothing(self) -> None:
        records = [hostile_record(text, n) for n, text in enumerate(HOSTILE)]
        browser = self.open(self.page(records))
        self.assertEqual(browser.find_elements("css selector", "img, script ~ script"), [])
        self.assertEqual(browser.get_log("browser"), [])
        self.assertEqual(len(self.shown(browser)), len(HOSTILE))


class OtherFiles(MonitorTest):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.folder / "file")
        text = json.dumps("".join(HOSTILE[:4]))
        self.program = "import os, threading\nt = threading.Thread(target=lambda: [][0])\n"
        self.program += "t.start()\nt.join()\nraise ValueError(%s)\n" % text

    @unittest.skipUnless(PROMTOOL, "no promtool")
    def test_promtool(self) -> None:
        self.run_monitored(self.program, "-q", "--metrics", self.path)
        content = Path(self.path).read_bytes()
        args = [PROMTOOL or "", "check", "metrics"]
        done = subprocess.run(args, input=content, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    @unittest.skipUnless(XSD, "JUNIT_XSD does not name a schema of JUnit")
    def test_junit_schema(self) -> None:
        from lxml import etree

        schema = etree.XMLSchema(etree.parse(XSD))
        for program in (self.program, "pass"):
            self.run_monitored(program, "-q", "--junit", self.path)
            schema.assertValid(etree.parse(self.path))
