"""Google Cloud's notice that a machine is about to be taken away.

Cluster managers (SLURM, Kubernetes) and a shutdown of the machine send SIGTERM themselves. A spot
machine on Google Cloud, TPU machines included, learns of its end from its metadata server first.

Source: https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
"""

from collections.abc import Callable
import contextlib
import os
import pathlib
import threading
from typing import Self
import urllib.error
import urllib.request

_PRODUCT = pathlib.Path("/sys/class/dmi/id/product_name")
# The variable that Google's own libraries read.
_HOST_VARIABLE, _HOST = "GCE_METADATA_HOST", "metadata.google.internal"
_PATH = "/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=60"
_RETRY_SECONDS, _PAUSE_SECONDS = 10.0, 1.0
# A metadata server is on the machine's own network: never through a proxy.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def metadata_host() -> str | None:
    """Returns the metadata server's host[:port], None if this is no machine of Google Cloud."""
    if host := os.environ.get(_HOST_VARIABLE):
        return host
    with contextlib.suppress(OSError):
        if "Google" in _PRODUCT.read_text():
            return _HOST
    return None


class PreemptionNotice:
    """Waits for the notice in a thread while it is open; does nothing off Google Cloud.

    Args:
      host: of the metadata server; None for nothing to wait for.
      notify: called once, from the thread.
    """

    def __init__(self, host: str | None, *, notify: Callable[[], None]):
        self._host, self._notify = host, notify
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Starts to wait."""
        if self._host is not None:
            # Never joined: it may be in the middle of a request of a minute.
            threading.Thread(target=self._wait, name="preemption", daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        """No notice is passed on any more."""
        self._closed.set()

    def _wait(self) -> None:
        while not self._closed.is_set():
            if self._ask() == "TRUE":
                if not self._closed.is_set():
                    self._notify()
                return
            self._closed.wait(_PAUSE_SECONDS)  # for a server that answers at once

    def _ask(self) -> str:
        """Returns the server's answer, which comes when it changes or after a minute."""
        request = urllib.request.Request(
            f"http://{self._host}{_PATH}", headers={"Metadata-Flavor": "Google"}
        )
        try:
            with _open(request, timeout=90) as answer:
                return answer.read().decode().strip()
        except (OSError, urllib.error.URLError):
            self._closed.wait(_RETRY_SECONDS)
            return ""
