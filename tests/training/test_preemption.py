"""The notice of a metadata server."""

import http.server
import pathlib
import threading

import pytest

from nmt5.training.preemption import PreemptionNotice, metadata_host


@pytest.fixture
def server():
    """A metadata server that says FALSE once, then TRUE."""
    answers, asked = ["FALSE", "TRUE"], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Metadata-Flavor"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers.pop(0).encode())

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        found.asked = asked
        yield found
        found.shutdown()
        thread.join()


def test_notice_is_passed_on_once(server, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
    monkeypatch.setattr("nmt5.training.preemption._PAUSE_SECONDS", 0.0)
    noticed = threading.Event()
    with PreemptionNotice(metadata_host(), notify=noticed.set):
        assert noticed.wait(20)
    assert [flavor for _, flavor in server.asked] == ["Google", "Google"]
    assert all("/instance/preempted?wait_for_change=true" in path for path, _ in server.asked)


def test_nothing_to_wait_for_off_google_cloud(monkeypatch):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    monkeypatch.setattr("nmt5.training.preemption._PRODUCT", pathlib.Path("/none"))
    assert metadata_host() is None
    before = threading.active_count()
    with PreemptionNotice(None, notify=lambda: None):
        assert threading.active_count() == before
