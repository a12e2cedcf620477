"""A real browser, or a clear word that there is none."""

import os
import shutil

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install 'steadytrain[dev]' brings playwright"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable():
    given = os.environ.get("STEADYTRAIN_TEST_BROWSER")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser():
    path = executable()
    if path is None:
        pytest.skip(
            f"no browser: install one of {', '.join(NAMES)}, or name it in STEADYTRAIN_TEST_BROWSER"
        )
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield one
        one.close()
