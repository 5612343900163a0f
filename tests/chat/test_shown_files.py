"""Files in the page of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from copilot.models import Message, User
from tests.factories import accept, hold, make_session
from tests.pictures import PNG, SVG
from tests.uploads import make_file

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path


def test_pictures_are_shown_and_other_files_are_links(user: User) -> None:
    session = make_session(user)
    picture, drawing = make_file(user, PNG, 'a"><b>.png'), make_file(user, SVG, "evil.svg")
    turn = accept(session, "Look", attachments=[picture.pk, drawing.pk]).turn
    assert turn is not None
    hold(turn).answer()
    # Of another origin, as no message of ours is.
    message = Message.objects.get(role="user")
    foreign = {"type": "file", "mediaType": "image/png", "filename": "x.png", "url": "https://evil.example/x.png"}
    message.parts.append(foreign)
    message.save(update_fields=["parts"])
    client = Client()
    client.force_login(user)
    page = client.get(f"/c/{session.pk}/")
    html = page.content.decode()
    address = f"/api/v1/files/{picture.pk}"
    name = escape('a"><b>.png')
    assert f'<a href="{address}"><img src="{address}" alt="{name}" loading="lazy"></a>' in html
    assert f'<a href="/api/v1/files/{drawing.pk}">evil.svg</a>' in html
    assert html.count("<img") == 1
    assert "evil.example" not in html
