"""A web page that finds people on your photos: poses, masks, and the fields they are decoded from.

It lets in this computer only unless --host says otherwise, and connects to nobody. Uploads are
deleted within half a minute; what was found is kept in memory until its page is closed.
"""
import argparse
import base64
import contextlib
import html
import importlib.util
import ipaddress
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the kdc_mm beside this file
sys.path.append(str(ROOT / 'tools'))

from infer import CHECKPOINT, CONFIG, load_network  # noqa: E402

from kdc_mm.apis.photo_viewer import Photo, PhotoViewer, View  # noqa: E402
from kdc_mm.engine.faults import FAULTS, end  # noqa: E402

#: Photos of so many open pages are kept, those that were chosen last.
MAX_PAGES = 32
#: Seconds after which an upload is deleted, and between two searches for such.
UPLOAD_AGE, SWEEP_EVERY = 20., 5.

WELCOME = '<p class="kdc-note">Drop a photo, paste one, or take one with the camera.</p>'
CAPTIONS = {
    'heatmaps': 'How likely a keypoint of some kind is near.',
    'KeyCentroids': 'From the cells around a keypoint to it, a colour for each kind.',
    'MaskCentroids': 'From the pixels of people towards the centroid of their person; each dot is '
                     'where an arrow would end.'
}
CSS = """
.gradio-container { max-width: 1500px !important; }
#result .html-container { padding: 0; }
.kdc-bar { display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: center;
           margin-bottom: .8em; }
.kdc-bar b { font-size: 1.15em; }
.kdc-bar span { white-space: nowrap; opacity: .75; }
.kdc-bar a { margin-left: auto; padding: .35em .9em; border-radius: 6px; white-space: nowrap;
             text-decoration: none; color: var(--button-primary-text-color) !important;
             background: var(--button-primary-background-fill); }
.kdc-fields { display: grid; gap: 1em; margin-top: 1em;
              grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); }
.kdc-picture { margin: 0; }
.kdc-picture img { display: block; width: 100%; height: auto; max-height: 85vh; margin: 0;
                   object-fit: contain; object-position: left top; }
.kdc-picture figcaption { margin-top: .3em; opacity: .75; }
.kdc-note { padding: 2em 0; text-align: center; opacity: .75; }
.kdc-fault { padding: .8em 1em; border-left: 4px solid #d62246; border-radius: 6px;
             background: var(--block-background-fill); overflow-wrap: anywhere; }
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='web', description=__doc__)
    add = parser.add_argument
    add('--config', default=str(CONFIG), help='config file (default: that of BodyPix)')
    add('--checkpoint', help=f'checkpoint of this config (default: {CHECKPOINT})')
    add('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    add('--host', default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other computers in (default: 127.0.0.1)')
    add('--port', type=int, default=7860, help='0 takes a free one (default: 7860)')
    add('--max-upload', type=float, default=25, metavar='MB',
        help='largest file of a photo, in 2^20 bytes (default: 25)')
    parser.set_defaults(flip_test=None)
    return parser


class Pages:
    """What open pages show: of each the photo that was chosen last, by the page's id.

    Args:
        viewer (PhotoViewer): The network.
        folder (Path): Where the photos lie that wait for the network; on the disk of uploads.
    """

    def __init__(self, viewer: PhotoViewer, folder: Path) -> None:
        self.viewer = viewer
        self.folder = folder
        self._photos: 'OrderedDict[str, Photo]' = OrderedDict()
        self._network = threading.Lock()

    def show(self, page: str, upload: Path, view: View) -> str:
        """HTML of an upload; a message if it is no photo."""
        self.forget(page)
        try:
            self._photos[page] = self._look(upload)
        except OSError as error:
            return f'<p class="kdc-fault" role="alert">{html.escape(str(error))}</p>'
        if len(self._photos) > MAX_PAGES:
            self._photos.popitem(last=False)
        return self.redraw(page, view)

    def redraw(self, page: str, view: View) -> str:
        """HTML of the page's photo, without another look at it."""
        photo = self._photos.get(page)
        return photo_html(self.viewer, photo, view) if photo else WELCOME

    def forget(self, page: str) -> None:
        """The page was closed."""
        self._photos.pop(page, None)

    def _look(self, upload: Path) -> Photo:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder, upload.name)
            try:
                file.hardlink_to(upload)  # waiting for the network may take longer than UPLOAD_AGE
            except OSError as error:
                raise OSError(f'{upload.name} is not here any more: choose it again.') from error
            with self._network:
                return self.viewer.look(file)


def photo_html(viewer: PhotoViewer, photo: Photo, view: View) -> str:
    """A photo as the page shows it: the time of each step, a link to the JSON, pictures."""
    begun = time.perf_counter()
    pictures = {name: picture_html(picture, name, CAPTIONS.get(name, ''))
                for name, picture in viewer.draw(photo, view).items()}
    steps = dict(photo.milliseconds, draw=1e3 * (time.perf_counter() - begun))
    people = photo.shown_people(view)
    count = f'{len(people)} {"person" if len(people) == 1 else "people"}'
    times = ''.join(f'<span>{step} {duration:.0f} ms</span>' for step, duration in steps.items())
    link = data_url('application/json', json.dumps(people).encode())
    name = html.escape(f'{Path(photo.name).stem}.json')
    return (f'<div class="kdc-bar"><b>{count}</b>{times}'
            f'<a href="{link}" download="{name}">Download JSON</a></div>'
            f'{pictures.pop("people")}<div class="kdc-fields">{"".join(pictures.values())}</div>')


def picture_html(picture: np.ndarray, name: str, caption: str) -> str:
    """An RGB picture (h, w, 3) uint8 as a figure that holds its own data."""
    height, width = picture.shape[:2]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    link = data_url('image/jpeg', cv2.imencode('.jpg', picture[..., ::-1], quality)[1].tobytes())
    return (f'<figure class="kdc-picture"><img src="{link}" alt="{name}" width="{width}" '
            f'height="{height}"><figcaption>{caption}</figcaption></figure>')


def data_url(kind: str, data: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def build_app(pages: Pages, title: str, max_upload: float) -> Any:
    """The page as an ASGI application.

    Args:
        pages (Pages): What it shows. gradio puts uploads into the folder that ``GRADIO_TEMP_DIR``
            names in the environment.
        title (str): Name of the network.
        max_upload (float): Bytes of an upload at most.
    """
    import fastapi
    import gradio as gr

    default = View()
    quietly = dict(show_progress='hidden', trigger_mode='always_last', api_visibility='private')
    with gr.Blocks(title='kdc_mm', analytics_enabled=False) as blocks:
        gr.Markdown(f'## People on your photos\n{title}')
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.Image(
                    label='Photo', sources=['upload', 'clipboard', 'webcam'], type='filepath',
                    height=230, buttons=[], webcam_options=gr.WebcamOptions(mirror=False))
                settings = [
                    gr.CheckboxGroup(
                        pages.viewer.layers, label='Layers', elem_id='layers',
                        value=[layer for layer in default.layers if layer in pages.viewer.layers]),
                    gr.Slider(0, 1, default.person_thr, step=0.01, elem_id='person-thr',
                              label='Person threshold'),
                    gr.Slider(0, 1, default.kpt_thr, step=0.01, elem_id='kpt-thr',
                              label='Keypoint threshold')
                ]
            with gr.Column(scale=3, min_width=320):
                result = gr.HTML(WELCOME, elem_id='result', padding=False)

        def show(request: gr.Request, photo: dict, *values):
            return None, pages.show(request.session_hash, Path(photo['path']), View(*values))

        def redraw(request: gr.Request, *values):
            return pages.redraw(request.session_hash, View(*values))

        def forget(request: gr.Request):
            pages.forget(request.session_hash)

        # not `input`: a choice of another source is one too, and takes the place of a photo that is
        # pasted by it. And each one, or a photo would be lost that comes while another is looked at
        upload.upload(show, [upload, *settings], [upload, result], preprocess=False,
                      trigger_mode='multiple', concurrency_limit=None, api_visibility='private')
        gr.on([setting.change for setting in settings], redraw, settings, result, **quietly)
        blocks.unload(forget)
    theme = gr.themes.Default(
        font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    return gr.mount_gradio_app(
        fastapi.FastAPI(), blocks, '/', footer_links=[], run_history=False, ssr_mode=False,
        enable_monitoring=False, mcp_server=False, max_file_size=int(max_upload), theme=theme,
        css=CSS)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        OSError: The address cannot be used; the message names it.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f'{host}:{port} cannot be listened on: {error.strerror}. Choose another '
                      'address with --host and --port.') from error


def connect_to_nobody() -> None:
    """From now on this process reaches no other computer, whatever a library tries.

    gradio fetches what a request names by its URL, for one.
    """

    def check(event: str, arguments: tuple) -> None:
        if event == 'socket.getaddrinfo':
            host = arguments[0]
        elif event == 'socket.connect' and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        if not is_this_computer(host):
            raise PermissionError(f'This process connects to nobody, not to {host}.')

    sys.addaudithook(check)


def is_this_computer(host) -> bool:
    """Whether a name or an address is that of this computer to itself."""
    if host in (None, '', 'localhost', b'localhost'):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sweep(folder: Path, age: float) -> None:
    """Delete what lies in a folder since more than ``age`` seconds."""
    for path in sorted(folder.rglob('*'), reverse=True):  # what is in a folder before the folder
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_ctime > age:
                path.rmdir() if path.is_dir() else path.unlink()


def keep_swept(folder: Path, age: float, every: float) -> None:
    """Sweep a folder from time to time, in a thread that ends with the process."""

    def run() -> None:
        while True:
            time.sleep(every)
            sweep(folder, age)

    threading.Thread(target=run, daemon=True).start()


def serve(args: argparse.Namespace) -> None:
    """Serve the page until the process is told to end.

    Raises:
        OSError: A file is missing, or the address cannot be used.
        CheckpointError: The checkpoint cannot be used, or is of another network.
    """
    import uvicorn

    listener = listen(args.host, args.port)
    with listener, tempfile.TemporaryDirectory(prefix='kdc-web-') as folder:
        uploads = Path(folder, 'uploads')
        uploads.mkdir()
        viewer = PhotoViewer(load_network(args))
        os.environ.update(GRADIO_TEMP_DIR=str(uploads), GRADIO_ANALYTICS_ENABLED='False')
        app = build_app(
            Pages(viewer, Path(folder)), Path(args.config).stem, 2**20 * args.max_upload)
        keep_swept(uploads, UPLOAD_AGE, SWEEP_EVERY)
        connect_to_nobody()
        host, port = listener.getsockname()[:2]
        print(f'http://{f"[{host}]" if ":" in host else host}:{port} (Ctrl-C ends it)', flush=True)
        config = uvicorn.Config(app, log_level='critical', timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    args = build_parser().parse_args()
    if args.max_upload <= 0:
        sys.exit(f'--max-upload must be greater than 0, got {args.max_upload:g}.')
    if importlib.util.find_spec('gradio') is None:
        sys.exit('The page needs gradio: pip install --no-deps -r requirements/web.txt')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # or uploads would stay
    try:
        serve(args)
    except KeyboardInterrupt:
        pass
    except FAULTS as error:
        end(error)


if __name__ == '__main__':
    main()
