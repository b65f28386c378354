"""Links, anchors, named files and pictures of the docs."""
import re

import pytest

from tests.test_docs.markdown import ROOT, anchors, links, name_of, pages, prose

MAX_PICTURE_BYTES = 200_000
PICTURES = ('.jpg', '.jpeg', '.png', '.svg', '.gif')


def target_of(link):
    """The file that a link leads to."""
    return (ROOT / link.page).parent / link.target if link.target else ROOT / link.page


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        target = target_of(link)
        assert target.exists(), f'{link.page}:{link.line}: there is no {link.target}'
        if link.anchor:
            assert link.anchor in anchors(target), (
                f'{link.page}:{link.line}: {target.name} has no heading #{link.anchor}')


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_every_source_file_and_folder_that_a_page_names_exists(page):
    """Below the repository or the package: `configs/mix`, `codecs/group.py`."""
    for name in re.findall(r'(?<!`)`([\w.-]+/[\w./-]+)`(?!`)', prose(page)):
        if name.startswith(('configs/', 'tools/', 'docs/', 'requirements/')) \
                or name.endswith(('.py', '.sh', '.yml')):
            assert any((root / name).exists() for root in (ROOT, ROOT / 'kdc_mm')), (
                f'{name_of(page)}: there is no {name}')


def test_every_page_and_picture_is_linked_from_another():
    linked = {target_of(link).resolve() for page in pages() for link in links(page)
              if target_of(link).resolve() != page}
    for file in (ROOT / 'docs').rglob('*'):
        if file.suffix == '.md' or file.suffix in PICTURES:
            assert file.resolve() in linked, f'nothing links to {name_of(file)}'


def test_pictures_are_small():
    for file in (ROOT / 'docs').rglob('*'):
        if file.suffix in PICTURES:
            assert file.stat().st_size < MAX_PICTURE_BYTES, f'{name_of(file)} is too large'


def test_the_parser_knows_githubs_anchors(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# A `b_c`: d, (e)\n## F\\*: g\n## A `b_c`: d, (e)\n```\n# no heading\n```\n')
    assert anchors(page) == ['a-b_c-d-e', 'f-g', 'a-b_c-d-e-1']
