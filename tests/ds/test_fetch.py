"""Fetching, against a server of our own: what comes, what stays, and what is said when it does not come."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from pertorch import ds, settings
from pertorch.ds import _catalogue, _fetch

pooch = pytest.importorskip("pooch")
NAME = "papalexi_2021_rna"


class Server(ThreadingHTTPServer):
    """Serves one file, and counts; the first answers may be `faults`."""

    daemon_threads = True
    body = b""
    faults: tuple[str, ...] = ()
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        fault = dict(enumerate(self.server.faults)).get(self.server.asked, "")
        self.server.asked += 1
        self.send_response(503 if fault == "busy" else 200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        body = {"cut": self.server.body[:100], "wrong": b"?" * len(self.server.body)}.get(fault, self.server.body)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    source = tmp_path / "source.h5ad"
    AnnData(np.arange(6.0).reshape(3, 2), obs=pd.DataFrame(index=list("abc"))).write_h5ad(source)
    server = Server(("127.0.0.1", 0), Handler)
    server.body = source.read_bytes()
    known = _catalogue.CATALOGUE[NAME]._replace(md5=hashlib.md5(server.body).hexdigest())
    monkeypatch.setattr(_catalogue, "RECORD", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setitem(_catalogue.CATALOGUE, NAME, known)
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between attempts
    monkeypatch.setenv("PERTORCH_DATASETS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pooch.get_logger().setLevel("WARNING")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dataset_is_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        np.testing.assert_array_equal(ds.load_dataset(NAME).X, np.arange(6.0).reshape(3, 2))
    assert server.asked == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [_catalogue.CATALOGUE[NAME].file]
    elsewhere = ds.fetch_dataset(NAME, cache=tmp_path / "mine")
    assert elsewhere.parent == tmp_path / "mine"
    assert server.asked == 2
    assert ds.load_dataset(NAME, backed="r").isbacked


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server) -> None:
    path = ds.fetch_dataset(NAME)
    path.write_bytes(b"damaged")
    assert ds.fetch_dataset(NAME).read_bytes() == server.body


@pytest.mark.parametrize("fault", ["cut", "wrong", "busy"])
def test_what_fails_is_tried_again(server: Server, fault: str) -> None:
    server.faults = (fault,) * (_fetch.ATTEMPTS - 1)
    assert ds.fetch_dataset(NAME).read_bytes() == server.body
    assert server.asked == _fetch.ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("wrong", ValueError, "does not have the checksum md5:[0-9a-f]{32}, in 4 attempts. It is not kept"),
        ("cut", ConnectionError, "could not be fetched .* and save it as .*PapalexiSatija2021_eccite_RNA.h5ad"),
        ("busy", ConnectionError, r"could not be fetched \(503"),
    ],
)
def test_what_fails_for_good_is_said_and_leaves_nothing(
    server: Server, tmp_path: Path, fault: str, error: type[Exception], says: str
) -> None:
    server.faults = (fault,) * _fetch.ATTEMPTS
    with pytest.raises(error, match=says):
        ds.fetch_dataset(NAME)
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_catalogue, "RECORD", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(ConnectionError, match=r"'papalexi_2021_rna' could not be fetched .* fetch http://127.0.0.1:9/"):
        ds.load_dataset(NAME)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interrupt_leaves_no_half_file(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(self: object, url: str, output_file: str, *_: object) -> None:
        Path(output_file).write_bytes(server.body[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ds.fetch_dataset(NAME)
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with settings.override(progress=True):
        ds.fetch_dataset(NAME)
    assert "100%" in capsys.readouterr().err


def test_no_such_dataset() -> None:
    with pytest.raises(ValueError, match=r"dataset 'papalexi_2021' is not one of .* did you mean 'papalexi_2021_rna'"):
        ds.load_dataset("papalexi_2021")


def test_list() -> None:
    table = ds.list_datasets()
    assert table.index.is_unique
    assert table.index.name == "name"
    assert table["md5"].str.fullmatch("[0-9a-f]{32}").all()
    assert table["md5"].is_unique
    assert table["url"].str.startswith("https://zenodo.org/records/13350497/files/").all()
    assert table["doi"].str.match(r"10\.\d{4}/").all()
    assert table[["cells", "about", "paper", "licence"]].notna().all(axis=None)
