import socket

import pytest

from ui.safety import Hosts


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "LOCALHOST.", "127.0.0.1:1", "[::1]:7860", "[::1]"])
def test_the_names_of_this_computer_are_answered_to(host):
    assert Hosts("127.0.0.1").allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "evil.example:7860",
        "127.0.0.1.nip.io",
        "127.0.0.1@evil.example",
        "localhost/evil",
        "localhost:7860:1",
        "192.168.1.7",
        "0.0.0.0",
        "[fe80::1]",
        "localhost evil.example",
    ],
)
def test_no_other_name_is(host):
    assert not Hosts("127.0.0.1").allows(host)


def test_where_all_addresses_are_bound_digits_are_allowed_and_names_are_not():
    hosts = Hosts("0.0.0.0")
    assert hosts.allows("192.168.1.7:7860")
    assert hosts.allows("[fe80::1]:7860")
    assert hosts.allows(socket.gethostname())
    assert not hosts.allows("evil.example")


def test_a_name_can_join():
    hosts = Hosts("127.0.0.1", ["paint.example"])
    assert hosts.allows("Paint.Example:443")
    hosts.add("abc.gradio.live")
    assert hosts.allows("abc.gradio.live")
    assert hosts.allows_origin("https://abc.gradio.live", "127.0.0.1:7860")  # a tunnel that tells our own name


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://127.0.0.1:7860", True),
        ("http://127.0.0.1:3000", False),  # another program of this computer
        ("http://localhost:7860", False),  # not the page that was asked for
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("chrome-extension://127.0.0.1:7860", False),
    ],
)
def test_pages_of_the_same_host_and_port_may_ask(origin, ours):
    assert Hosts("127.0.0.1").allows_origin(origin, "127.0.0.1:7860") is ours
