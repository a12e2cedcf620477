"""A real S3 server (moto's), and a way to it that can be told to misbehave."""

import contextlib
import http.client
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY, SECRET = "an-access-key-of-this-test", "a-secret-key-of-this-test"

_ERROR = (
    b"<?xml version='1.0'?><Error><Code>%s</Code><Message>as the test wants it</Message></Error>"
)


class Bucket:
    """An S3 server with one bucket, `runs`, behind a proxy.

    Attributes:
        faults: [(method, part of the path, what, times)]: what happens to requests instead.
            "error" or "denied": 500 or 403; "cut": the way up ends in the middle; "unheard": done,
            and no answer comes; "torn": the way down ends in the middle; "short", "flipped": an
            object lacks its end, or has another bit; "slow": it comes in drops.
        asked: method and path of every request.
    """

    def __init__(self):
        pytest.importorskip("s3fs", reason="pip install s3fs")
        pytest.importorskip("flask_cors", reason="pip install moto[s3] flask flask-cors")
        self.faults, self.asked = [], []
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        port = int(self._server.stdout.readline())
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, args=(0.02,), daemon=True).start()
        self.environment = {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self._proxy.server_port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/runs", method="PUT",
            headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request"},
        )  # fmt: skip
        urllib.request.urlopen(request).close()

    def close(self):
        self._proxy.shutdown()
        self._proxy.server_close()
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()

    def take_fault(self, method, path):
        for at, (verb, part, what, times) in enumerate(self.faults):
            if verb == method and part in path and times:
                self.faults[at] = verb, part, what, times - 1
                return what
        return None


_SERVE = """
import socket, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
server._thread.join()
"""


def _handler(bucket, port):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            bucket.asked.append((self.command, self.path))
            what = bucket.take_fault(self.command, self.path)
            if what == "cut":
                self.rfile.read(int(self.headers["Content-Length"]) // 2)
                self.hang_up()
                return
            body = self.take_body()
            if what in ("error", "denied"):
                code, word = (500, b"InternalError") if what == "error" else (403, b"AccessDenied")
                self.answer(code, {}, _ERROR % word)
                return
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as there:
                headers = dict(self.headers)
                headers.pop("Transfer-Encoding", None)
                headers.pop("Expect", None)
                there.request(
                    self.command, self.path, body, headers | {"Content-Length": len(body)}
                )
                found = there.getresponse()
                raw = found.read()
            if what == "slow" and self.command == "PUT":
                time.sleep(0.5)
            if what == "unheard":
                self.hang_up()
                return
            if what == "short":
                raw = raw[: len(raw) // 2]
            if what == "flipped":
                raw = raw[:-1] + bytes([raw[-1] ^ 8])
            self.answer(found.status, found.headers, raw, what)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        def take_body(self):
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body

        def answer(self, code, headers, raw, what=None):
            self.send_response_only(code)
            # A store that lost the end of an object does not know its sum either.
            damaged = what in ("short", "flipped")
            for name, value in headers.items():
                is_ours = name.lower() in ("content-length", "transfer-encoding", "connection")
                if not is_ours and not (damaged and "checksum" in name.lower()):
                    self.send_header(name, value)
            size = len(raw)
            if self.command == "HEAD":
                size = headers.get("Content-Length", 0)
            self.send_header("Content-Length", size)
            self.end_headers()
            if what == "torn":
                self.wfile.write(raw[: len(raw) // 2])
                self.hang_up()
                return
            step = max(1, len(raw) // 8) if what == "slow" else len(raw) or 1
            for begin in range(0, len(raw), step):
                self.wfile.write(raw[begin : begin + step])
                if what == "slow":
                    time.sleep(0.15)

        def hang_up(self):
            self.close_connection = True
            self.connection.close()

        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                super().handle()

        def finish(self):
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *_):
            pass

    return Handler
