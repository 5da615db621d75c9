"""Tests of the page in headless Chromium, opened from disk."""

import shutil
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import write_video
from scnn_tf.localization.tables import Detections
from scnn_tf.report.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("chromium", "chromedriver"),  # Debian: chromium-driver
]

EVIL = '</script><img src=x onerror="window.hacked=1"><b>&lt;i&gt;'
TRUTH = {
    "long": VideoAnnotation(
        "long", "test", 20.0, None, (Instance("run", 2, 6), Instance(EVIL, 10, 14))
    ),
    "short": VideoAnnotation("short", "test", 8.0, None, (Instance("run", 1, 3),)),
}
FOUND = Detections(
    video=["long"] * 5 + ["short"],
    start=[2.0, 2.5, 10.0, 3.0, 16.0, 1.0],
    end=[6.0, 6.0, 14.0, 5.9, 19.0, 4.0],
    label=["run", "run", EVIL, EVIL, "run", "run"],
    score=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
)
ERROR_TYPES = ["true positive", "double detection", "true positive", "wrong label", "background"]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """A page that is open in the browser."""

    def __init__(self, browser, path, width=1200, height=900, scheme="light"):
        self.browser = browser
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(path if "://" in str(path) else f"file://{path}")
        self.settle()

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def settle(self):
        """Waits for two animation frames, after which all requested changes are drawn."""
        self.browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def until(self, script):
        return WebDriverWait(self.browser, 30, 0.05).until(lambda _: self.run(f"return {script}"))

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.one(selector).text

    def rows(self):
        """The cells of the table of detections."""
        return self.run(
            "return [...document.querySelectorAll('#table tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )

    def press(self, *keys):
        self.run("document.querySelector('canvas').focus()")
        ActionChains(self.browser).send_keys(*keys).perform()
        self.settle()

    def click_timeline(self, x, y):
        """Clicks a point of the canvas, in pixels from its corner."""
        canvas = self.one("canvas")
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        size = canvas.size
        ActionChains(self.browser).move_to_element_with_offset(
            canvas, round(x - size["width"] / 2), round(y - size["height"] / 2)
        ).click().perform()
        self.settle()

    def box(self, row):
        """The middle of a detection's bar on the canvas."""
        return self.run(
            "const box = timeline.boxes.find((each) => each.row === arguments[0]);"
            "return [(box.left + box.right) / 2, (box.top + box.bottom) / 2]", row,
        )  # fmt: skip

    def time(self):
        return self.run("return document.querySelector('video').currentTime")

    def errors(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for name, seconds in (("long", 20), ("short", 8)):
        frames = (np.roll(noise, n, axis=1) for n in range(10 * seconds))
        write_video(folder / f"{name}.mp4", frames, 10)
    evaluation = {
        "protocol": "thumos14", "videos": 2, "instances": 3, "map": {"0.5": 0.5, "0.7": 0.3},
        "ap": {"run": {"0.5": 0.6, "0.7": 0.3}, EVIL: {"0.5": 0.4, "0.7": 0.3}},
    }  # fmt: skip
    stage = {"metrics": {"steps": 20, "loss": 0.5}, "loss": [(10, 0.9), (20, 0.5)], "accuracy": []}
    validated = stage | {
        "metrics": {"steps": 20, "classes_accuracy": 0.75, "best_step": 10},
        "validation": {"loss": [(10, 0.8), (20, 1.0)], "mAP@0.5": [(10, 0.7), (20, 0.6)]},
    }
    write_report(
        folder / "full.html", FOUND, ground_truth=TRUTH,
        videos={name: folder / f"{name}.mp4" for name in TRUTH},
        evaluations={EVIL: evaluation, "theirs": evaluation},
        training={"proposal": stage, EVIL: stage, "joint": validated},
        ablation={"depths": [0.5, 1, 2], "top_k": {EVIL: [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]},
                  "protocol": "thumos14", "videos": 2},
        title=EVIL, score_threshold=0.0,
    )  # fmt: skip
    write_report(
        folder / "found.html", FOUND, videos={"long": folder / "long.mp4"}, embed_videos=True
    )
    return folder


@pytest.fixture
def full(browser, folder):
    page = Page(browser, folder / "full.html")
    yield page
    assert page.errors() == []


def test_a_page_opens_from_disk_and_plays(full):
    assert full.browser.title == full.text("h1") == EVIL
    assert full.text("#facts").split("\n")[:8] == [
        "videos", "2", "detections", "6", "classes", "2", "instances", "3"
    ]  # fmt: skip
    assert [row[-1] for row in full.rows()] == ERROR_TYPES
    assert full.rows()[2] == [EVIL, "0:10.0", "0:14.0", "0.700", "true positive"]
    full.until("document.querySelector('video').readyState >= 2")
    assert full.run("return document.querySelector('video').duration") == pytest.approx(20)


def test_text_of_a_file_neither_runs_nor_loads_anything(full):
    full.run("document.getElementById('results').scrollIntoView()")
    full.until("document.querySelectorAll('.card[data-drawn]').length >= 2")
    for card in full.browser.find_elements(By.CSS_SELECTOR, ".card"):
        full.run("arguments[0].scrollIntoView()", card)
        WebDriverWait(full.browser, 30).until(lambda _, card=card: card.get_attribute("data-drawn"))
    assert full.run("return window.hacked === undefined && document.images.length === 0")
    titles = full.run("return [...document.querySelectorAll('.card h3')].map((e) => e.textContent)")
    assert titles == [
        "Error types by class", "Average precision of each class", "mAP against tIoU",
        "Precision against recall", "Training: loss", "Training: mAP in the validation videos",
        "The best κ detections of a class for each of its instances",
    ]  # fmt: skip
    assert full.run("return document.querySelectorAll('.plot svg.main-svg').length") >= len(titles)
    # A name is shown as it is, in the charts too.
    assert EVIL in full.run("return document.querySelector('#charts').textContent")
    loaded = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert all(name.startswith(("file:", "data:", "blob:")) for name in full.run(loaded))


def test_the_curves_of_a_validation(full):
    data = "document.querySelectorAll('.card')[{}].querySelector('.plot').data"
    for card in full.browser.find_elements(By.CSS_SELECTOR, ".card")[4:6]:
        full.run("arguments[0].scrollIntoView()", card)
        WebDriverWait(full.browser, 30).until(lambda _, card=card: card.get_attribute("data-drawn"))
    names = full.run(f"return {data.format(4)}.map((trace) => trace.name)")
    assert names[0] == "proposal" and names[2:] == ["joint", "joint, validation"]
    loss = full.run(f"return {data.format(4)}[3]")
    assert (loss["x"], loss["y"], loss["line"]["dash"]) == ([10, 20], [0.8, 1.0], "dot")
    (trace,) = full.run(f"return {data.format(5)}")
    assert (trace["name"], trace["x"], trace["y"]) == ("joint, tIoU 0.5", [10, 20], [0.7, 0.6])
    # The kept weights are those of step 10.
    assert trace["marker"]["symbol"] == ["circle-open", "circle"]
    table = full.run(
        "return [...document.querySelectorAll('caption')]"
        ".find((e) => e.textContent === 'training').parentNode.textContent"
    )
    assert ".750" in table


def test_the_slider_filters_by_score(full):
    slider = full.one("#threshold")
    assert len(full.rows()) == 5 and full.text("#threshold-count") == "6 of 6 detections"
    slider.send_keys(Keys.END)
    full.settle()
    assert [row[3] for row in full.rows()] == ["0.900"]
    assert full.text("#threshold-count") == "1 of 6 detections"
    assert full.text("#threshold-value") == "0.900"
    # The list shows the counts of every video.
    assert full.text("#videos li:last-child .muted") == "0 of 1 found · 0 errors"
    full.run("arguments[0].value = 500; arguments[0].dispatchEvent(new Event('input'))", slider)
    full.settle()
    # 500 of 1000 is the third of the scores .4 .5 .6 .7 .8 .9, counted from 0 and rounded.
    assert [row[3] for row in full.rows()] == ["0.900", "0.800", "0.700"]
    assert full.run("return timeline.boxes.map((box) => box.row).sort()") == [0, 1, 2]


def test_a_click_seeks_in_the_video(full):
    full.until("document.querySelector('video').readyState >= 2")
    left = full.run("return timeline.left")
    width = full.one("canvas").size["width"]
    # In the ruler, at three quarters of 20 s.
    full.click_timeline(left + 0.75 * (width - left), 36)
    assert full.time() == pytest.approx(15, abs=0.1)
    assert full.text("#now .time") == "0:15.0"
    full.click_timeline(*full.box(2))  # a bar: to its beginning
    full.until("!document.querySelector('video').seeking")
    assert full.time() == pytest.approx(10, abs=0.01)
    assert full.text("#said") == f"{EVIL}, 0:10.0 – 0:14.0, score 0.700: true positive"
    chips = full.run("return [...document.querySelectorAll('.chip')].map((e) => e.textContent)")
    assert chips == [EVIL, f"{EVIL} 0.700"]
    full.one("#table tbody tr:nth-child(5) button").click()
    assert full.time() == pytest.approx(16, abs=0.01)


def test_the_keyboard_controls_time_zoom_and_video(full):
    full.until("document.querySelector('video').readyState >= 2")
    full.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert full.time() == pytest.approx(2, abs=0.01)
    chosen = []
    for _ in range(6):  # by their beginning: 2, 2.5, 3, 10, 16; then there are no more
        full.press(Keys.ARROW_DOWN)
        chosen.append(full.run("return timeline.chosen"))
    assert chosen == [0, 1, 3, 2, 4, 4]
    full.press(Keys.ARROW_UP)
    assert full.time() == pytest.approx(10, abs=0.01)
    full.press("+")
    begin, end = full.run("return [timeline.from, timeline.to]")
    assert end - begin == pytest.approx(10) and begin <= 10 <= end
    full.press("0")
    assert full.run("return [timeline.from, timeline.to]") == [0, 20]
    full.press(" ")
    full.until("!document.querySelector('video').paused")
    full.until("timeline.time > 10.2")
    full.press(" ", Keys.HOME)
    assert full.run("return document.querySelector('video').paused")
    full.press(Keys.PAGE_DOWN)
    assert full.text("h2") == "short" and full.browser.current_url.endswith("#video=short")
    # In the list: up to the first video, and open it.
    full.run("document.querySelector('#videos [aria-current]').focus()")
    ActionChains(full.browser).send_keys(Keys.ARROW_UP, Keys.ENTER).perform()
    full.settle()
    assert full.text("h2") == "long"


def test_error_types_classes_and_thresholds_filter(full):
    full.one("#legend label:nth-of-type(3) input").click()  # wrong label
    full.settle()
    assert [row[-1] for row in full.rows()] == [e for e in ERROR_TYPES if e != "wrong label"]
    full.one("#legend label:nth-of-type(3) input").click()
    full.run("const s = document.getElementById('class'); s.selectedIndex = "
             "[...s.options].findIndex((o) => o.text === 'run');"
             "s.dispatchEvent(new Event('change'))")  # fmt: skip
    full.settle()
    assert [row[0] for row in full.rows()] == ["run"] * 3
    full.run("const s = document.getElementById('tiou'); s.value = '0.7';"
             "s.dispatchEvent(new Event('change'));"
             "document.querySelectorAll('#videos button')[1].click()")  # fmt: skip
    full.settle()
    assert [row[-1] for row in full.rows()] == ["localization"]  # 2 s of 3


def test_the_search_finds_videos_by_name(full):
    full.one("#search").send_keys("HOR")
    assert [e.text for e in full.browser.find_elements(By.CSS_SELECTOR, "#videos .id")] == ["short"]
    assert full.text("#videos-count") == "1 of 2 videos"


def test_a_link_opens_a_video(browser, folder):
    page = Page(browser, f"file://{folder}/full.html#video=short")
    assert page.text("h2") == "short" and page.errors() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_every_window_size_and_colour_scheme(browser, folder, width, scheme):
    page = Page(browser, folder / "full.html", width, 700, scheme)
    page.run("document.querySelector('.card').scrollIntoView()")
    page.until("document.querySelectorAll('.card[data-drawn]').length >= 1")
    assert page.run("return document.documentElement.scrollWidth") <= width
    red, *_ = page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert (int(red) < 60) == (scheme == "dark")
    assert page.errors() == []


def test_a_page_without_ground_truth(browser, folder):
    page = Page(browser, folder / "found.html")
    assert page.rows()[0] == ["run", "0:02.0", "0:06.0", "0.900"]
    shown = "return document.getElementById(arguments[0]).offsetParent !== null"
    assert [page.run(shown, name) for name in ("tiou", "results")] == [False, False]
    # The embedded video can be sought in.
    page.until("document.querySelector('video').readyState >= 2")
    page.click_timeline(*page.box(2))
    assert page.time() == pytest.approx(10, abs=0.01)
    # The other entry has no video.
    page.press(Keys.PAGE_DOWN)
    assert page.text("h2") == "short" and page.text("#player") == ""
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#now .time") == "0:01.0"
    assert page.errors() == []


def test_key_frames_and_a_missing_video(browser, folder, tmp_path):
    write_report(tmp_path / "r.html", FOUND, videos={"long": folder / "long.mp4"})
    text = (tmp_path / "r.html").read_text()
    frame = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    source = text[text.index('"src":"') :].split('"')[3]
    gone = text.replace(source, "./gone%20away.mp4")
    (tmp_path / "gone.html").write_text(gone)
    page = Page(browser, tmp_path / "gone.html")
    page.until("document.querySelector('#player .note')")
    assert "expected it at ./gone away.mp4" in page.text("#player")
    page.press(Keys.ARROW_RIGHT)
    assert page.text("#now .time") == "0:01.0"

    strip = text.replace(f'"src":"{source}"', f'"frames":[[4.0,"{frame}"],[12.0,"{frame}"]]')
    (tmp_path / "strip.html").write_text(strip)
    page = Page(browser, tmp_path / "strip.html")
    page.one(".strip button:nth-child(2)").click()
    page.settle()
    assert page.text("#now .time") == "0:12.0"
    near = page.run("return document.querySelector('.strip .near').textContent")
    assert near == "0:12.0" and page.errors() == []


def test_24000_detections_of_200_videos_are_shown_quickly(browser, tmp_path):
    random = np.random.default_rng(0)
    names = [f"video_{n:03}" for n in range(200)]
    labels = [f"class{n}" for n in range(20)]
    truth = {}
    for name in names:
        starts = np.sort(random.uniform(0, 200, 15))
        instances = tuple(Instance(random.choice(labels), s, s + 5) for s in starts)
        truth[name] = VideoAnnotation(name, "test", 210.0, None, instances)
    start = random.uniform(0, 200, 24_000)
    found = Detections(
        random.choice(names, 24_000), start, start + random.uniform(1, 9, 24_000),
        random.choice(labels, 24_000), random.random(24_000),
    )  # fmt: skip
    write_report(tmp_path / "big.html", found, ground_truth=truth, score_threshold=0.0)
    assert (tmp_path / "big.html").stat().st_size < 4_000_000
    began = time.monotonic()
    page = Page(browser, tmp_path / "big.html")
    assert time.monotonic() - began < 8
    assert page.text("#threshold-count") == "24,000 of 24,000 detections"

    def takes(script):
        began = time.monotonic()
        page.run(script)
        page.settle()
        return time.monotonic() - began

    # Ten settings each, so .4 s for one.
    slide = "const s = document.getElementById('threshold'); s.value = {};"
    slide += "s.dispatchEvent(new Event('input'))"
    assert sum(takes(slide.format(100 * n)) for n in range(10)) < 4
    select = "document.querySelectorAll('#videos button')[{}].click()"
    assert sum(takes(select.format(19 * n)) for n in range(10)) < 4
    assert page.text("h2") == "video_171"
    page.run("document.getElementById('results').scrollIntoView()")
    began = time.monotonic()
    page.until("document.querySelectorAll('.card[data-drawn]').length >= 1")
    assert time.monotonic() - began < 15
    assert page.errors() == []


def test_the_player_shows_the_picture_of_a_detection_that_sound_precedes(browser, tmp_path):
    # Three seconds of sound, then picture k, of brightness 20 + 4k, at 3 + k/25 seconds. Seconds
    # are those of the file, so that 4.5 s shows picture 37 or so: brightness 168.
    with av.open(tmp_path / "v.mp4", "w") as container:
        video = container.add_stream("libx264", 25, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", 8000)
        for first in range(0, 5 * 8000, 1000):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "fltp", "mono")
            samples.rate, samples.pts, samples.time_base = 8000, first, Fraction(1, 8000)
            container.mux(sound.encode(samples))
        for k in range(50):
            grey = np.full((48, 64, 3), 20 + 4 * k, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, "rgb24")
            picture.pts, picture.time_base = 75 + k, Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(sound.encode())
        container.mux(video.encode())
    found = Detections(["v"], [4.5], [4.9], ["run"], [0.9])
    options = {"videos": {"v": tmp_path / "v.mp4"}, "embed_videos": True}
    write_report(tmp_path / "r.html", found, **options)
    page = Page(browser, tmp_path / "r.html")
    assert page.run("return data.videos[0].duration") == 5.0
    page.until("document.querySelector('video').readyState >= 2")
    page.press(Keys.ARROW_DOWN)
    page.until("!document.querySelector('video').seeking")
    assert page.time() == pytest.approx(4.5)
    page.until("document.querySelector('video').readyState >= 2")
    brightness = page.run(
        "const canvas = new OffscreenCanvas(64, 48), pen = canvas.getContext('2d');"
        "pen.drawImage(document.querySelector('video'), 0, 0);"
        "return pen.getImageData(32, 24, 1, 1).data[0]"
    )
    assert brightness == pytest.approx(20 + 4 * 37, abs=6)
