import base64

import pytest

from ui.safety import Password


def header(pair, encoding="utf-8"):
    return "Basic " + base64.b64encode(pair.encode(encoding)).decode()


@pytest.mark.parametrize(("password", "encoding"), [("open: sesame", "utf-8"), ("tür", "utf-8"), ("tür", "latin-1")])
def test_the_right_pair_opens(password, encoding):
    assert Password("sdlora", password).opens(header(f"sdlora:{password}", encoding))


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer c2RsYW9yYTpvcGVu",
        header("sdlora:ope"),
        header("sdlora:openn"),
        header("sdlora:"),
        header("Sdlora:open"),
        header(":open"),
        header("sdlora:open") + "=",
        header("sdlora:öpen"),
        header("sdlora:open").replace("Basic ", "Basic"),
    ],
)
def test_nothing_else_does(given):
    assert not Password("sdlora", "open").opens(given)
