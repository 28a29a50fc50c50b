"""A real JupyterLab on copies of the notebooks, and Chromium before it: all in temporary folders, nothing of yours."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
LAPTOP = {"width": 1366, "height": 768}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
IDLE = "Python 3 (ipykernel) | Idle"
NO_NEWS = {"fetchNews": "false"}  # JupyterLab would ask once whether it may fetch them
# What JupyterLab itself says with no notebook open: a part of the message, and the reason. So far it says nothing.
HARMLESS: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def missing(what: str) -> NoReturn:
    """No browser, no test; under WMCOURSE_BROWSER=required that is a failure."""
    if os.environ.get("WMCOURSE_BROWSER") == "required":
        pytest.fail(f"{what}, and WMCOURSE_BROWSER=required")
    pytest.skip(what)


# All of module scope: while Playwright is open an event loop runs, which the tests of other files must not meet.
@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install -e '.[dev]')")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing(f"no Chromium: none of {', '.join(names)} is on PATH")
    home = str(tmp_path_factory.mktemp("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=FLAGS.split(), env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
        )
        yield browser
        browser.close()


@dataclass(frozen=True)
class Server:
    url: str
    root: Path  # what it serves: notebooks/ and solutions/
    home: Path  # the learner's folder


@pytest.fixture(scope="module")
def jupyter(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("jupyter")
    root, home = base / "root", base / "my"
    for name in ("notebooks", "solutions"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("*.py", ".*"))
    home.mkdir()
    write_json(base / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings", NO_NEWS)
    # nbgrader is a developer's: a learner's JupyterLab has no such menu.
    off = {"@jupyter/nbgrader": True}
    write_json(base / "config/labconfig/page_config.json", {"disabledExtensions": off})
    environment = {
        **os.environ,
        "HOME": str(base / "home"),
        "IPYTHONDIR": str(base / "ipython"),
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        "WMCOURSE_HOME": str(home),
    }
    for name in ("MPLBACKEND", "OMP_NUM_THREADS"):  # set by tests/conftest.py; a learner's kernel does not have them
        environment.pop(name, None)
    token = "browser-tests"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.token={token}"]
    command += [f"--ServerApp.root_dir={root}"]
    log = base / "jupyter.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or answers(f"{url}/api/status?token={token}"), 60, "JupyterLab")
        assert process.poll() is None, f"JupyterLab ended:\n{log.read_text()[-3000:]}"
        yield Server(url, root, home)
    finally:
        process.send_signal(signal.SIGTERM)  # it ends its kernels, too
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.1)


@dataclass
class Notebook:
    """A notebook that is open in JupyterLab, used as a learner uses it: with the mouse and the keyboard."""

    page: Page
    file: Path
    artefacts: Path
    errors: list[str] = field(default_factory=list)  # of the browser's console
    seconds: float = 0.0  # that Run All took

    def __post_init__(self) -> None:
        self.cells: list[dict[str, Any]] = json.loads(self.file.read_text(encoding="utf-8"))["cells"]

    # --- Cells, by their ids

    def ids(self, *words: str) -> list[str]:
        """The code cells whose text has one of the words."""
        texts = {c["id"]: "".join(c["source"]) for c in self.cells if c["cell_type"] == "code"}
        return [cell for cell, text in texts.items() if any(word in text for word in words)]

    def index(self, cell: str) -> int:
        return next(i for i, c in enumerate(self.cells) if c["id"] == cell)

    def called(self, cell: str) -> str:
        """A name for people: its own where it has one, otherwise its place in the notebook."""
        return cell if "-" in cell else f"cell-{self.index(cell):02d}"

    def cell(self, cell: str) -> Locator:
        return self.page.locator(f".jp-Notebook [data-windowed-list-index='{self.index(cell)}']")

    def said(self, cell: str) -> str:
        """All that a cell put out, as text: also where it is scrolled out of sight."""
        parts = self.cell(cell).locator(".jp-OutputArea-output").all()
        return "\n".join(part.text_content() or "" for part in parts)

    def prompt(self, cell: str) -> str:
        return self.cell(cell).locator(".jp-InputPrompt").text_content() or ""

    def write(self, cell: str, text: str) -> None:
        """Into the cell, in place of what stands there."""
        editor = self.cell(cell).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def run(self, cell: str, seconds: float = 60) -> float:
        """Click into the cell, Shift+Enter, wait; returns the seconds it took."""
        before = self.prompt(cell)
        self.cell(cell).locator(".cm-content").click()
        started = time.monotonic()
        self.page.keyboard.press("Shift+Enter")
        until(lambda: re.fullmatch(r"\[\d+\]:?", now := self.prompt(cell)) is not None and now != before, seconds, cell)
        return time.monotonic() - started

    def add(self, text: str) -> Locator:
        """A new last cell with this text, run; returns what it put out."""
        count = self.page.locator(".jp-Notebook .jp-Cell").count()
        self.page.locator(f".jp-Notebook [data-windowed-list-index='{count - 1}']").click()
        for key in ("Escape", "b", "Enter"):
            self.page.keyboard.press(key)
        new = self.page.locator(f".jp-Notebook [data-windowed-list-index='{count}']")
        new.locator(".cm-content").wait_for()
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Control+Enter")
        new.locator(".jp-OutputArea-output").last.wait_for()
        return new

    def answer(self, name: str, text: str) -> tuple[str, float]:
        """Write into an exercise's cell, run it, run its check: what the check says, and after how many seconds."""
        self.write(f"exercise-{name}", text)
        self.run(f"exercise-{name}")
        seconds = self.run(f"check-{name}")
        return self.said(f"check-{name}"), seconds

    # --- The whole notebook

    def menu(self, *path: str) -> None:
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(path[0], exact=True).click()
        for name in path[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True).click()

    def run_all(self, seconds: float) -> None:
        started = time.monotonic()
        self.menu("Run", "Run All Cells")
        self.page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for(state="attached")
        prompts = "[...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].map(e => e.textContent)"
        self.page.wait_for_function(f"!{prompts}.some(t => t.includes('*'))", timeout=seconds * 1000)
        self.page.get_by_text(IDLE).wait_for(timeout=10_000)
        self.seconds = time.monotonic() - started

    @property
    def theme(self) -> str:
        return "light" if self.page.locator("body").get_attribute("data-jp-theme-light") == "true" else "dark"

    def use(self, theme: str) -> None:
        if theme != self.theme:
            self.menu("Settings", "Theme", THEMES[theme])
            self.page.locator(f"body[data-jp-theme-name='{THEMES[theme]}']").wait_for(state="attached")
            self.page.wait_for_timeout(300)  # its style sheet has its own time

    # --- Pictures for who looks at them afterwards

    def themes(self) -> Iterator[str]:
        """One after the other, beginning with the one that is on."""
        for theme in sorted(THEMES, key=lambda theme: theme != self.theme):
            self.use(theme)
            yield theme

    def shoot(self, name: str, *cells: str | Locator) -> None:
        """The page as it stands, or these cells, each in both themes."""
        for theme in self.themes():
            if not cells:
                self.page.screenshot(path=self.artefacts / f"{name}-{theme}.png")
                continue
            self.page.set_viewport_size({**LAPTOP, "height": 1600})  # so that no cell is cut off
            for cell in cells:
                called = f"-{self.called(cell)}" if isinstance(cell, str) else ""
                shown = self.cell(cell) if isinstance(cell, str) else cell
                shown.scroll_into_view_if_needed()
                shown.screenshot(path=self.artefacts / f"{name}{called}-{theme}.png", animations="disabled")
            self.page.set_viewport_size(LAPTOP)

    def walk(self, name: str) -> None:
        """The whole notebook from top to bottom in both themes, in pages of twice the laptop's height."""
        self.page.set_viewport_size({**LAPTOP, "height": 2 * LAPTOP["height"]})
        for theme in self.themes():
            for number in range(1, 50):
                last = self.page.evaluate(TURN, number - 1)
                self.page.wait_for_timeout(250)  # cells that come into sight are drawn then
                self.page.screenshot(path=self.artefacts / f"{name}-{number:02d}-{theme}.png")
                if last:
                    break
        self.page.set_viewport_size(LAPTOP)


# Scrolls to a page of the notebook, by number; says whether its last cell is in sight.
TURN = """number => {
    const outer = document.querySelector('.jp-WindowedPanel-outer');
    outer.scrollTop = number * (outer.clientHeight - 40);
    const cells = outer.querySelectorAll('.jp-Cell');
    return cells[cells.length - 1].getBoundingClientRect().bottom <= outer.getBoundingClientRect().bottom;
}"""


@pytest.fixture(scope="module")
def open_notebook(chromium: Browser, jupyter: Server) -> Callable[[str], Notebook]:
    """Opens a notebook by its path under the server's root, in a page of its own."""

    def opened(path: str) -> Notebook:
        folder = Path(os.environ.get("WMCOURSE_ARTEFACTS") or ROOT / "test-artefacts") / Path(path).stem
        folder.mkdir(parents=True, exist_ok=True)
        context = chromium.new_context(viewport=LAPTOP)
        page = context.new_page()
        notebook = Notebook(page, jupyter.root / path, folder)

        def note(text: str) -> None:
            if not any(part in text for part in HARMLESS):
                notebook.errors.append(text)

        page.on("console", lambda m: note(f"{m.text} ({m.location.get('url', '')})") if m.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.goto(f"{jupyter.url}/lab/workspaces/{Path(path).parent}/tree/{path}?reset&token=browser-tests")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        page.get_by_text(IDLE).wait_for(timeout=60_000)
        return notebook

    return opened
