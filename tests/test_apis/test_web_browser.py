"""The page of tools/web.py in Chromium, where it is installed:

    apt install chromium chromium-driver
    pip install -r requirements/browser.txt
    python -m pytest tests/test_apis/test_web_browser.py
"""
import base64
import json
import shutil
import threading
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from kdc_mm.apis.photo_viewer import PhotoViewer
from tests.conftest import load_tool

from .test_inferencer import noise

pytest.importorskip('gradio', reason='needs gradio (requirements/web.txt)')
pytest.importorskip('selenium', reason='needs selenium: pip install -r requirements/browser.txt')
CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
if not (CHROMIUM and DRIVER):
    pytest.skip('needs Chromium and its driver: apt install chromium chromium-driver',
                allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = [  # gradio's use of pandas
    pytest.mark.filterwarnings('ignore:The copy keyword is deprecated'),
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")
]
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--disable-dev-shm-usage', '--use-fake-device-for-media-stream',
         '--use-fake-ui-for-media-stream')
SECONDS = 120  # for anything to happen: machines may be busy
MAX_UPLOAD = 2**20


class Server:
    """The page with the untrained network, on a free port and in a thread."""

    def __init__(self, inferencer, folder):
        import uvicorn
        web = load_tool('web')
        self.uploads = folder / 'uploads'
        self.uploads.mkdir()
        self.pages = web.Pages(PhotoViewer(inferencer), folder)
        app = web.build_app(self.pages, 'untrained', MAX_UPLOAD)
        self._listener = web.listen('127.0.0.1', 0)
        self.address = 'http://{}:{}'.format(*self._listener.getsockname())
        web.keep_swept(self.uploads, age=2, every=0.2)
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener], ))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@pytest.fixture(scope='module')
def server(inferencer, tmp_path_factory):
    folder = tmp_path_factory.mktemp('web')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inferencer.model.test_cfg, 'output_heatmaps', False)  # is put back
        patch.setenv('GRADIO_TEMP_DIR', str(folder / 'uploads'))
        patch.setenv('GRADIO_HEARTBEAT_INTERVAL', '0.2')
        with Server(inferencer, folder) as started:
            yield started


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
    folder = tmp_path_factory.mktemp('chromium')
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f'--user-data-dir={folder}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page in Chromium, newly opened."""

    def __init__(self, driver, server, downloads):
        self.driver = driver
        self.downloads = downloads
        driver.get(server.address)
        self.until(lambda: self.texts('#result .kdc-note'))

    def until(self, condition):
        """What a condition gives once it is true."""
        return WebDriverWait(
            self.driver, SECONDS, ignored_exceptions=[StaleElementReferenceException]
        ).until(lambda _: condition())

    def texts(self, selector):
        """Texts of the elements that a CSS selector finds."""
        return [element.text for element in self.all(selector)]

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def after(self, action):
        """Do something and wait for the page to show something new: the text above pictures."""
        shown = ("[...document.querySelectorAll('#result p, .kdc-bar, .kdc-picture img')]"
                 '.map(e => e.outerHTML).join()')
        self.driver.execute_script(f'window.shown = {shown}')
        action()
        self.until(lambda: self.driver.execute_script(f'return window.shown !== {shown}'))
        [text] = self.texts('#result p, .kdc-bar')
        return text

    def upload(self, file):
        [chooser] = self.until(lambda: self.all('input[type=file]'))
        return self.after(lambda: chooser.send_keys(str(file)))

    def switch(self, layer):
        [box] = [label for label in self.all('#layers label') if label.text == layer]
        return self.after(box.click)

    def pictures(self):
        """Names and sizes (w, h) of the pictures, once they are all there."""
        script = ("return [...document.querySelectorAll('.kdc-picture img')]"
                  '.map(i => [i.alt, i.complete ? i.naturalWidth : 0, i.naturalHeight])')
        self.until(lambda: all(one[1] for one in self.driver.execute_script(script)))
        return [tuple(one) for one in self.driver.execute_script(script)]

    def download(self):
        """Content of the JSON file."""
        self.all('.kdc-bar a')[0].click()
        [file] = self.until(lambda: list(self.downloads.glob('*.json')))
        content = json.loads(file.read_text())
        file.unlink()
        return file.name, content


@pytest.fixture
def page(chromium, server, tmp_path):
    downloads = tmp_path / 'downloads'
    chromium.execute_cdp_cmd('Browser.setDownloadBehavior', dict(
        behavior='allow', downloadPath=str(downloads)))
    return Page(chromium, server, downloads)


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / 'holiday.png'), noise(300, 400))
    return tmp_path / 'holiday.png'


def test_a_photo_is_looked_at_once_and_drawn_as_sliders_and_layers_say(
        page, photo, server, inferencer, monkeypatch):
    [batch] = inferencer(str(photo))
    expected = [person for person in batch['predictions'][0] if person['bbox_score'] >= 0.1]
    said = page.upload(photo)
    assert said.startswith(f'{len(expected)} people') and len(expected) > 0
    assert page.pictures() == [('people', 800, 600)]
    assert page.download() == ('holiday.json', json.loads(json.dumps(expected)))

    monkeypatch.setattr(inferencer, 'forward', None)
    page.switch('heatmaps')
    page.switch('masks')
    page.switch('MaskCentroids')
    assert page.pictures() == [
        ('people', 800, 600), ('heatmaps', 800, 600), ('MaskCentroids', 800, 600)]
    slider = page.all('#person-thr input[type=range]')[0]
    assert page.after(lambda: slider.send_keys(Keys.END)).startswith('0 people')
    assert page.download() == ('holiday.json', [])
    page.until(lambda: not any(server.uploads.iterdir()))


def test_what_cannot_be_used_gets_one_clear_message(page, photo, server, tmp_path):
    (tmp_path / 'text.jpg').write_text('hello')
    assert page.upload(tmp_path / 'text.jpg') == 'text.jpg cannot be used: it is no image.'
    page.upload(photo)
    large = noise(800, 800)
    large[:] = np.random.default_rng(0).integers(0, 255, large.shape)
    cv2.imwrite(str(tmp_path / 'large.png'), large)
    [chooser] = page.all('input[type=file]')
    chooser.send_keys(str(tmp_path / 'large.png'))
    [message] = page.until(
        lambda: [text for text in page.texts('.toast-body') if 'large.png' in text])
    assert 'exceed the maximum allowed size of 1' in message
    page.until(lambda: not any(server.uploads.iterdir()))


def test_nothing_is_loaded_from_elsewhere_and_a_closed_page_is_forgotten(
        page, chromium, photo, server):
    chromium.get_log('performance')
    page.driver.refresh()
    page.until(lambda: page.texts('#result .kdc-note'))
    page.upload(photo)
    events = [json.loads(entry['message'])['message'] for entry in chromium.get_log('performance')]
    urls = {event['params']['request']['url'] for event in events
            if event['method'] == 'Network.requestWillBeSent'}
    assert {f'{urlsplit(url).scheme}://{urlsplit(url).netloc}' for url in urls
            if not url.startswith(('data:', 'blob:'))} == {server.address}
    assert len(server.pages._photos) > 0
    chromium.get('about:blank')
    page.until(lambda: not server.pages._photos)


@pytest.mark.parametrize('width', [400, 1280])
def test_the_page_fits_narrow_and_wide_windows(page, chromium, photo, width):
    chromium.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(
        width=width, height=900, deviceScaleFactor=1, mobile=width < 600))
    try:
        page.upload(photo)
        page.switch('KeyCentroids')
        page.pictures()
        assert chromium.execute_script('return document.documentElement.scrollWidth') <= width
        right = chromium.execute_script(
            "return Math.max(...[...document.querySelectorAll('.kdc-bar *, .kdc-picture img')]"
            '.map(e => e.getBoundingClientRect().right))')
        assert right <= width
    finally:
        chromium.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def test_a_photo_can_be_taken_with_the_camera(page):
    camera = page.until(lambda: page.all('button[aria-label="Capture from camera"]'))[0]
    camera.click()
    [access] = page.until(lambda: [
        button for button in page.all('button') if button.text == 'Click to Access Webcam'])
    access.click()
    [shutter] = page.until(lambda: page.all('button[aria-label="capture photo"]'))
    assert ' people' in page.after(shutter.click)
    [(name, width, height)] = page.pictures()
    assert name == 'people' and max(width, height) >= 800
    green = page.driver.execute_script("""
        const image = document.querySelector('.kdc-picture img');
        const canvas = document.createElement('canvas').getContext('2d');
        canvas.drawImage(image, 0, 0);
        return [...canvas.getImageData(3, 3, 1, 1).data]""")
    assert green[1] > 100 > 60 > max(green[0], green[2])  # what Chromium's stand-in camera shows


def test_a_photo_can_be_pasted(page, photo, chromium):
    chromium.execute_cdp_cmd('Browser.grantPermissions', dict(
        permissions=['clipboardReadWrite', 'clipboardSanitizedWrite']))
    copied = chromium.execute_async_script("""
        const [photo, done] = arguments;
        fetch('data:image/png;base64,' + photo).then(response => response.blob())
            .then(blob => navigator.clipboard.write([new ClipboardItem({'image/png': blob})]))
            .then(() => done('copied'), fault => done(String(fault)))
        """, base64.b64encode(photo.read_bytes()).decode())
    assert copied == 'copied'
    paste = page.until(lambda: page.all('button[aria-label="Paste from clipboard"]'))[0]
    assert ' people' in page.after(paste.click)
    assert page.pictures() == [('people', 800, 600)]
