"""Tests reach no other machine: conftest's no_network stands in the way."""

import contextlib
import socket
import threading

import pytest

ELSEWHERE = [  # addresses for documentation: nobody is there
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_INET, ("example.invalid", 80)),
    (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
]


@pytest.mark.parametrize("family, address", ELSEWHERE)
@pytest.mark.parametrize("connect", ["connect", "connect_ex"])
def test_other_machines_are_out_of_reach(family, address, connect):
    with (
        socket.socket(family) as mine,
        pytest.raises(pytest.fail.Exception, match="reaches for the network") as caught,
    ):
        getattr(mine, connect)(address)
    assert address[0] in str(caught.value)


def test_names_are_not_looked_up():
    with pytest.raises(pytest.fail.Exception, match="looks up a name: example.invalid"):
        socket.create_connection(("example.invalid", 80))


def test_code_that_hides_errors_does_not_hide_it():
    with pytest.raises(pytest.fail.Exception), contextlib.suppress(Exception):
        socket.create_connection(("192.0.2.1", 80))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_this_machine_is_within_reach(name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = threading.Thread(target=lambda: server.accept()[0].close())
        answer.start()
        with socket.socket() as mine:
            mine.settimeout(10)
            mine.connect((name, port))
            assert mine.recv(1) == b""
        answer.join()


def test_pipes_between_processes_are_left_alone(tmp_path):
    place = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as mine:
        server.bind(place)
        server.listen()
        mine.connect(place)
        server.accept()[0].close()
