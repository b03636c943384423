"""Weights by name: paths are themselves, hf:// comes from a hub, here one on this machine."""

import http.server
import socket
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained import hub, reading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEC = "hf://someone/net/sub/model.safetensors"


def refused(spec):
    """The line with which a name is refused, and its hint."""
    with pytest.raises(UserError) as caught:
        hub.fetch(spec)
    message, hint = caught.value.message, caught.value.hint
    assert "\n" not in message and message and hint
    return message, hint


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub with one repository, on this machine; what it is asked for is in `asked`."""
    constants = pytest.importorskip("huggingface_hub.constants")
    data = safetensors.numpy.save({"x": np.arange(3, dtype=np.float32)})
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            _, owner, name, *rest = self.path.partition("?")[0].split("/")
            if (owner, name) == ("someone", "gated"):
                return self.answer(403, {"X-Error-Code": "GatedRepo"})
            if (owner, name) == ("someone", "broken"):
                return self.answer(418, {})  # others are asked again, for long
            if (owner, name) != ("someone", "net"):
                return self.answer(404, {"X-Error-Code": "RepoNotFound"})
            if rest[1] not in ("main", "v1.0", COMMIT):
                return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            if rest[2:] != ["sub", "model.safetensors"]:
                return self.answer(404, {"X-Error-Code": "EntryNotFound"})
            return self.answer(200, {"ETag": '"one"', "X-Repo-Commit": COMMIT}, data)

        def answer(self, status, headers, body=b""):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        here, there = f"http://127.0.0.1:{serving.server_port}", constants.ENDPOINT
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(there, here)
        monkeypatch.setattr(constants, "ENDPOINT", here)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        try:
            yield asked
        finally:
            serving.shutdown()
            thread.join()


def test_paths_are_themselves_and_ask_nobody(tmp_path, monkeypatch):
    def nobody(*_):
        pytest.fail("a path asks the network")

    monkeypatch.setattr(socket.socket, "connect", nobody)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"")
    assert hub.fetch(str(path)) == path


def test_a_missing_file_says_where_to_get_it():
    message, hint = refused("nowhere/my.npz")
    assert "'nowhere/my.npz'" in message and "hf://owner/repo/file" in hint
    message, hint = refused("resnet18")
    assert "from the hub it is hf://timm/resnet18.a1_in1k/model.safetensors" in hint
    _, hint = refused("folder/resnet20_cifar10.safetensors")
    assert "akamaster/pytorch_resnet_cifar10" in hint
    _, hint = refused("keras_vgg16")
    assert "vgg16_weights_tf_dim_ordering_tf_kernels.h5" in hint and "keras.applications" in hint
    message, _ = refused("resnet81")
    assert "Did you mean 'resnet18'" in message


@pytest.mark.parametrize(
    "spec",
    [
        "hf://", "hf://a", "hf://a/b", "hf://a/b/", "hf://a/b/../../c.npz", "hf://a/b/x y.npz",
        "hf://a/b@/c.npz", "hf://a/b@v@w/c.npz", "hf:///a/b.npz", "hf://a/b/c.npz?x=1",
        "hf://../b/c.npz", "hf://a/../c.npz", "hf://a/b//c.npz", "hf://a/b/./c.npz",
    ],
)  # fmt: skip
def test_names_that_are_none_are_refused_at_once(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message, hint = refused(spec)
    assert spec in message and "no file of the hub" in message and "hf://owner/repo" in hint


def test_files_that_are_not_read_are_not_fetched(server):
    with pytest.raises(UserError, match="are not read as weights"):
        hub.fetch("hf://someone/net/sub/model.msgpack")
    assert not server


def test_a_file_is_fetched_once(server, monkeypatch):
    path = hub.fetch(SPEC)
    assert path.name == "model.safetensors" and COMMIT in str(path)
    assert (reading.read(path).tensors["x"] == np.arange(3)).all()
    assert any(line.startswith("GET") for line in server)
    server.clear()
    assert hub.fetch(SPEC) == path
    assert not any(line.startswith("GET") for line in server)
    from huggingface_hub import constants

    server.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(SPEC) == path and not server


def test_a_revision_is_asked_for(server):
    assert hub.fetch(SPEC.replace("net", "net@v1.0")).is_file()
    assert all("/v1.0/" in line or COMMIT in line for line in server) and server


def test_what_the_hub_refuses_is_one_line(server):
    message, hint = refused("hf://nobody/none/model.safetensors")
    assert "no repository nobody/none" in message and "hf auth login" in hint
    message, hint = refused("hf://someone/gated/model.safetensors")
    assert "someone/gated gives its files only" in message and "hf auth login" in hint
    message, hint = refused(SPEC.replace("net", "net@v2"))
    assert "no revision 'v2'" in message and "someone/net/commits" in hint
    message, hint = refused("hf://someone/net/other.npz")
    assert "has no file 'other.npz'" in message and "someone/net/tree/main" in hint


def test_a_hub_that_is_out_of_order_is_one_line(server, monkeypatch):
    import huggingface_hub

    message, hint = refused("hf://someone/broken/model.safetensors")
    assert "hf://someone/broken/model.safetensors" in message and hint

    def full(*_, **__):
        raise OSError(28, "No space left\non device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    message, _ = refused(SPEC)
    assert "No space left on device" in message


def test_offline_is_said(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message, hint = refused(SPEC)
    assert "not in the cache" in message and "offline" in message
    assert hint.endswith("hf download someone/net sub/model.safetensors")
    assert not server


def test_the_missing_extra_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message, hint = refused(SPEC)
    assert "needs huggingface_hub" in message and 'pip install "lowlabel_jax[hub]"' in hint
