import socket

import pytest

from sdlora import Error
from ui.server import free_port, is_loopback, local_address


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_goes_without_a_password(host, private):
    assert is_loopback(host) is private


def test_the_next_port_is_taken_where_one_is_in_use():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert taken < free_port("127.0.0.1", taken) < taken + 100


def test_an_address_of_another_computer_is_one_sentence():
    with pytest.raises(Error, match="check --host"):
        free_port("203.0.113.1", 7860)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860/"),
        ("localhost", "http://localhost:7860/"),
        ("0.0.0.0", "http://127.0.0.1:7860/"),
        ("::1", "http://[::1]:7860/"),
        ("192.168.1.7", "http://192.168.1.7:7860/"),
    ],
)
def test_the_address_that_is_printed_can_be_opened_here(host, address):
    assert local_address(host, 7860) == address
