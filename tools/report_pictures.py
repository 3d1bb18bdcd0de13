"""Write the pictures of docs/report.md: tools/report_pictures.py REPORT.html [FOLDER], by default docs/images.

Needs chromium on the PATH and the playwright package (the test extra has it).
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = (("report_side", "light", "s"), ("report_overlay", "dark", "o"), ("report_swipe_grid", "light", "wg"))
SCALE = 1.5  # pixels of a picture for each of the page's
QUALITY = 88  # of JPEG


def main() -> None:
    report, *more = sys.argv[1:]
    folder = Path(more[0]) if more else Path(__file__).parents[1] / "docs" / "images"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, scheme, keys in PICTURES:
            page = browser.new_page(
                viewport={"width": 1180, "height": 900}, color_scheme=scheme, device_scale_factor=SCALE
            )
            page.goto(Path(report).resolve().as_uri())
            page.wait_for_selector("html[data-viewer=ready]", timeout=120_000)
            take(page, keys, folder / f"{name}.jpg")
        browser.close()


def take(page: Page, keys: str, path: Path) -> None:
    """Press the keys and keep what the viewer then shows."""
    page.wait_for_function("() => !document.querySelector('#read').textContent.includes('\\u2026')")
    page.locator("#screen").focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_timeout(2000)
    raw = page.locator("#viewer").screenshot()
    Image.open(BytesIO(raw)).convert("RGB").save(path, quality=QUALITY, subsampling=0, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
