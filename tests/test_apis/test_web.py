"""tools/web.py: the page and its server."""
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from kdc_mm import cli
from kdc_mm.apis.photo_viewer import PhotoViewer, View
from tests.conftest import ROOT, load_tool

from .test_inferencer import noise

EVERYBODY = View(('skeletons', 'masks'), 0, 0)


@pytest.fixture(scope='module')
def web():
    """The module of tools/web.py."""
    return load_tool('web')


@pytest.fixture
def viewer(inferencer, monkeypatch):
    monkeypatch.setitem(inferencer.model.test_cfg, 'output_heatmaps', False)  # is put back
    return PhotoViewer(inferencer)


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / 'uploads'
    folder.mkdir()
    return folder


@pytest.fixture
def pages(web, viewer, tmp_path):
    return web.Pages(viewer, tmp_path)


@pytest.fixture
def upload(uploads):
    """Function that puts a photo where gradio puts it."""

    def put(name='holiday & sun.png', content=None, folder='1f0c'):
        file = uploads / folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content or png(noise(300, 400)))
        return file

    return put


def described(html):
    """Name and content of the JSON file that a page links to."""
    link, name = re.search(r'href="data:application/json;base64,(.*?)" download="(.*?)"',
                           html).groups()
    return name, json.loads(base64.b64decode(link))


def test_an_upload_is_shown_and_no_other_file_stays_in_the_folder(
        web, pages, upload, inferencer, uploads, tmp_path):
    file = upload()
    html = pages.show('page', file, EVERYBODY)
    name, people = described(html)
    [batch] = inferencer(noise(300, 400))
    assert people == json.loads(json.dumps(batch['predictions'][0]))
    assert name == 'holiday &amp; sun.json'
    assert f'<b>{len(people)} people</b>' in html
    assert re.findall(r'<span>(\w+) \d+ ms</span>', html) == ['load', 'network', 'decode', 'draw']
    assert html.count('<img') == 1 and '<img src="data:image/jpeg;base64,' in html
    assert [one for one in tmp_path.rglob('*') if one.is_file()] == [file]
    web.sweep(uploads, 0)
    assert not any(uploads.iterdir())


def test_other_settings_draw_anew_without_the_network(pages, upload, inferencer, monkeypatch):
    pages.show('page', upload(), EVERYBODY)
    monkeypatch.setattr(inferencer, 'forward', None)
    html = pages.redraw('page', View(('masks', 'heatmaps', 'MaskCentroids'), 1, 0))
    assert '<b>0 people</b>' in html and described(html)[1] == []
    assert re.findall('alt="(.*?)"', html) == ['people', 'heatmaps', 'MaskCentroids']


def test_a_file_that_is_no_photo_gets_one_message_and_takes_the_old_photo_away(
        web, pages, upload):
    pages.show('page', upload(), EVERYBODY)
    html = pages.show('page', upload('<b>.jpg', b'hello'), EVERYBODY)
    assert html == ('<p class="kdc-fault" role="alert">&lt;b&gt;.jpg cannot be used: it is no '
                    'image.</p>')
    assert pages.redraw('page', EVERYBODY) == web.WELCOME


def test_a_photo_outlasts_its_upload_while_the_network_is_busy(
        web, pages, upload, uploads, monkeypatch):
    look = pages.viewer.look

    def look_late(file):
        web.sweep(uploads, 0)
        return look(file)

    monkeypatch.setattr(pages.viewer, 'look', look_late)
    assert 'holiday &amp; sun.json' in pages.show('page', upload(), EVERYBODY)


def test_an_upload_that_is_gone_is_asked_for_again(pages, upload):
    file = upload()
    file.unlink()
    assert 'sun.png is not here any more: choose it again.' in pages.show('page', file, EVERYBODY)


def test_a_page_forgets_its_photo_when_it_is_closed_or_too_many_are_open(
        web, pages, upload, monkeypatch):
    monkeypatch.setattr(web, 'MAX_PAGES', 2)
    for page in ('one', 'two', 'three'):
        pages.show(page, upload(), EVERYBODY)
    pages.forget('two')
    pages.forget('unknown')
    assert [pages.redraw(page, EVERYBODY) == web.WELCOME for page in ('one', 'two', 'three')] == [
        True, True, False]


def test_what_lies_in_the_folder_for_long_is_swept_away(web, upload, uploads, monkeypatch):
    upload()
    web.sweep(uploads, 60)
    assert any(uploads.iterdir())
    later = time.time() + 61
    monkeypatch.setattr(web.time, 'time', lambda: later)
    web.sweep(uploads, 60)
    assert not any(uploads.iterdir())


def test_the_process_reaches_no_other_computer():
    program = """
import socket
from tests.conftest import load_tool
web = load_tool('web')
listener = web.listen('127.0.0.1', 0)
web.connect_to_nobody()
socket.create_connection(listener.getsockname()).close()
socket.create_connection(('localhost', listener.getsockname()[1])).close()
for attempt in (lambda: socket.create_connection(('192.0.2.1', 80), 1),
                lambda: socket.getaddrinfo('example.org', 80)):
    try:
        attempt()
    except PermissionError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True,
                          capture_output=True, check=True).stdout
    assert said.splitlines() == ['This process connects to nobody, not to 192.0.2.1.',
                                 'This process connects to nobody, not to example.org.']


def test_an_address_in_use_is_named(web):
    with web.listen('127.0.0.1', 0) as listener:
        host, port = listener.getsockname()
        with pytest.raises(OSError, match=f'^{host}:{port} cannot be listened on: .*--port'):
            web.listen(host, port)


@pytest.mark.parametrize('arguments, message', [
    (['--max-upload', '0'], '--max-upload must be greater than 0, got 0.'),
    (['--checkpoint', 'nothing.pth'], 'nothing.pth does not exist'),
    (['--config', 'configs/kdc_rn152_coco.py'], 'Name a checkpoint of configs/kdc_rn152_coco.py'),
    (['--host', 'no.such.host.invalid'], 'no.such.host.invalid:0 cannot be listened on'),
])
def test_mistakes_end_in_one_line(web, monkeypatch, arguments, message):
    pytest.importorskip('gradio', reason='needs gradio (requirements/web.txt)')
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    monkeypatch.setattr(sys, 'argv', ['web', '--port', '0', *arguments])
    with pytest.raises(SystemExit) as ended:
        web.main()
    assert message in str(ended.value) and '\n' not in str(ended.value)


def test_without_gradio_one_line_says_how_to_get_it(web, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.setattr(sys, 'argv', ['web'])
    with pytest.raises(SystemExit, match='requirements/web.txt'):
        web.main()


def test_the_command_kdc_web_is_this_tool(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['kdc', 'web', '--help'])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and '--max-upload MB' in capsys.readouterr().out


def png(image):
    """A BGR or BGRA image as the content of a PNG file."""
    return cv2.imencode('.png', image)[1].tobytes()


@pytest.mark.parametrize('size', [(1, 1), (2, 900), (2400, 3200)])
def test_photos_of_any_size_have_the_people_of_their_file(pages, upload, inferencer, size):
    file = upload('clipboard.png', png(noise(*size)))
    [expected] = inferencer(str(file))
    html = pages.show('page', file, EVERYBODY)
    assert described(html) == ('clipboard.json', json.loads(json.dumps(expected['predictions'][0])))


class Page:
    """What the page in a browser sends to its server.

    Args:
        client (TestClient): Of the application.
    """

    def __init__(self, client):
        self.client = client
        config = client.get('/config').json()
        self.components = {one['id']: one for one in config['components']}
        [self.photo] = [one for one in self.components.values() if one['type'] == 'image']
        [self.event] = [one for one in config['dependencies']
                        if self.photo['id'] in [target[0] for target in one['targets']]]

    def choose(self, name, content):
        """Upload a file, from a folder, the clipboard or the camera, and hand it to the network:
        what the page then shows."""
        [path] = self.client.post('/gradio_api/upload', files=dict(files=(name, content))).json()
        file = dict(path=path, orig_name=name, size=len(content), mime_type='image/png',
                    meta=dict(_type='gradio.FileData'))
        settings = [self.components[key]['props']['value'] for key in self.event['inputs'][1:]]
        self.client.post('/gradio_api/queue/join', json=dict(
            data=[file, *settings], fn_index=self.event['id'], session_hash='page',
            trigger_id=self.photo['id'])).raise_for_status()
        told = self.client.get('/gradio_api/queue/data', params=dict(session_hash='page')).text
        messages = [json.loads(line[len('data: '):]) for line in told.splitlines() if line]
        [done] = [one for one in messages if one['msg'] == 'process_completed']
        photo, html = done['output']['data']
        assert photo is None  # the next one can be chosen
        return html


@pytest.fixture
def page(web, pages, uploads, monkeypatch):
    pytest.importorskip('gradio', reason='needs gradio (requirements/web.txt)')
    from starlette.testclient import TestClient
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(uploads))
    with TestClient(web.build_app(pages, 'untrained', 2**20)) as client:
        yield Page(client)


@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated')  # gradio's use of pandas
@pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")
def test_a_pasted_photo_is_the_same_as_its_file_whatever_its_transparency(page):
    image = noise(300, 400)
    html = page.choose('holiday.png', png(image))
    name, people = described(html)
    assert name == 'holiday.json' and len(people) > 0
    opaque, faded = (np.dstack([image, np.full((300, 400), alpha, np.uint8)])
                     for alpha in (255, 40))
    for pasted in (opaque, faded):
        assert described(page.choose('clipboard.png', png(pasted))) == ('clipboard.json', people)


def test_the_photo_comes_from_a_file_the_clipboard_or_the_camera_and_none_is_passed_over(page):
    assert page.photo['props']['sources'] == ['upload', 'clipboard', 'webcam']
    # choosing a source is no photo, and a photo need not wait for the one before
    assert page.event['targets'] == [[page.photo['id'], 'upload']]
    assert page.event['trigger_mode'] == 'multiple'


@pytest.fixture
def process(small_cfg, inferencer, tmp_path):
    """The tool as a process of its own: its address, its temporary folder, itself."""
    pytest.importorskip('gradio', reason='needs gradio (requirements/web.txt)')
    small_cfg.dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=inferencer.model.state_dict()), tmp_path / 'weights.pth')
    (tmp_path / 'tmp').mkdir()
    command = [sys.executable, 'tools/web.py', '--config', str(tmp_path / 'config.py'),
               '--checkpoint', str(tmp_path / 'weights.pth'), '--port', '0', '--max-upload', '0.1']
    with subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, TMPDIR=str(tmp_path / 'tmp'))) as started:
        said = []
        for line in started.stdout:
            said.append(line)
            if line.startswith('http'):
                break
        assert said[-1].startswith('http://127.0.0.1:'), ''.join(said)
        yield said[-1].split()[0], tmp_path / 'tmp', started
        started.kill()


def test_the_server_limits_uploads_fetches_nothing_and_leaves_nothing_behind(process):
    import httpx
    address, temporary, server = process
    with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        page = client.get('/')
        assert page.status_code == 200 and 'People on your photos' in page.text
        sent = client.post('/gradio_api/upload', files=dict(files=('sun.png', bytes(9 * 10**4))))
        [upload] = temporary.rglob('sun.png')
        assert sent.json() == [str(upload)]
        too_large = client.post('/gradio_api/upload', files=dict(files=('b.png', bytes(2 * 10**5))))
        assert too_large.status_code == 413
        assert {file for file in temporary.rglob('*') if file.is_file()} <= {upload}
        assert client.get('/gradio_api/file=http://example.org/a.png').status_code == 403
        assert client.get('/gradio_api/file=/etc/passwd').status_code == 403
    server.send_signal(signal.SIGTERM)
    rest = server.stdout.read()
    assert server.wait() == 0 and 'Traceback' not in rest
    assert not any(file.is_file() or file.name.startswith('kdc-web-')
                   for file in temporary.rglob('*'))
