"""A bugsink server on loopback, with one project, and its pages.

There is no ``__init__.py`` in this folder, as in ``tests/programs``: these tests need
receivers that are not part of the standard library.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.driver import wait_until

_CONF = """
BUGSINK.update(
    BASE_URL="http://127.0.0.1:{port}",
    PHONEHOME=False,
    VALIDATE_ON_DIGEST="strict",
    INGEST_STORE_BASE_DIR="{folder}/ingestion",
    MAX_EVENTS_PER_PROJECT_PER_5_MINUTES=100000,
    MAX_EVENTS_PER_5_MINUTES=100000,
    MAX_EVENTS_PER_PROJECT_PER_HOUR=100000,
    MAX_EVENTS_PER_HOUR=100000,
)
DATABASES["default"]["NAME"] = "{folder}/db.sqlite3"
DATABASES["snappea"]["NAME"] = "{folder}/snappea.sqlite3"
ALLOWED_HOSTS = ["127.0.0.1"]
"""
_SETUP = """
from projects.models import Project
from bsmain.models import AuthToken
project = Project.objects.create(name="crashes", slug="crashes", sentry_key="{key}")
print("project", project.id, AuthToken.create_full_access().token)
"""


class Bugsink:
    """Started in ``folder``; ``dsn`` is the sink's URL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "bugsink_conf",
            "PYTHONPATH": str(folder),
        }
        self._scripts = Path(sys.executable).parent
        create = [self._script("bugsink-create-conf"), "--template=local", "--host=127.0.0.1"]
        self._run([*create, "--port=%d" % self.port])
        with open(folder / "bugsink_conf.py", "a") as file:
            file.write(_CONF.format(port=self.port, folder=folder))
        self._run([self._script("bugsink-manage"), "migrate"])
        self.key = uuid.uuid4().hex
        shell = [self._script("bugsink-manage"), "shell", "-c", _SETUP.format(key=self.key)]
        words = self._run(shell).split()
        at = words.index("project")
        self._project, self._token = words[at + 1], words[at + 2]
        self._log = open(folder / "server.log", "wb")
        serve = [self._script("gunicorn"), "--bind=127.0.0.1:%d" % self.port, "--threads=4"]
        self._process = subprocess.Popen(
            [*serve, "bugsink.wsgi"], cwd=folder, env=self._env, stdout=self._log, stderr=self._log
        )
        wait_until(self._answers, "bugsink to answer")

    def url(self, key: str = "", project: str = "") -> str:
        parts = key or self.key, self.port, project or self._project
        return "sentry+http://%s@127.0.0.1:%d/%s" % parts

    def _script(self, name: str) -> str:
        return str(self._scripts / name)

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self._folder, env=self._env, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise AssertionError("%s\n%s\n%s" % (command, done.stdout, done.stderr))
        return done.stdout

    def _answers(self) -> bool:
        try:
            return bool(self._get("issues/?project=" + self._project) is not None)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
            return False

    def _get(self, path: str) -> Any:
        headers = {"Authorization": "Bearer " + self._token, "Accept": "application/json"}
        place = "http://127.0.0.1:%d/api/canonical/0/%s" % (self.port, path)
        with urllib.request.urlopen(urllib.request.Request(place, headers=headers)) as answer:
            return json.load(answer)

    def _all(self, path: str) -> list[Any]:
        found = []
        page = self._get(path)
        while True:
            found += page["results"]
            if not page["next"]:
                return found
            page = self._get(page["next"].partition("/api/canonical/0/")[2])

    def issues(self) -> list[Any]:
        return self._all("issues/?project=" + self._project)

    def events(self, issue: str) -> list[Any]:
        return self._all("events/?order=asc&issue=" + issue)

    def event(self, event: str) -> Any:
        """Return an event with ``data``, and ``stacktrace_md``: its page as text."""
        return self._get("events/%s/" % event)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
