"""A local server that speaks each service's rules, and a mail server; both can be told to misbehave."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

FEISHU_SECRET = "feishu-secret-0123"
DING_SECRET = "SECding-secret-0123"
HOOK_SECRET = "webhook-secret-0123"
SLACK_TOKEN = "xoxb-slack-token-0123"


class Services:
    """All services behind one port: /feishu, /dingtalk, /wecom, /slack, /api/METHOD, /webhook.

    Attributes:
        received: (service, object) of all that was taken, in order.
        asked: every request, taken or not.
        faults: what to do instead with the next requests: a status, "slow", "redirect", "garbage",
            "cut", "taken and cut", or ("retry", seconds).
    """

    def __init__(self):
        self.received = []
        self.asked = []
        self.faults = []
        self.always = None
        self.posts = {}
        self.elsewhere = []
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                services.asked.append(self.path)
                services.answer(self, body)

            def do_GET(self):
                services.elsewhere.append(self.path)
                self.send_error(404)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request, body):
        fault = self.faults.pop(0) if self.faults else self.always
        service = urlsplit(request.path).path.split("/")[1]
        match fault:
            case "slow":
                time.sleep(1.5)
            case "redirect":
                request.send_response(307)
                request.send_header("Location", f"{self.url}/elsewhere?stolen")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            case "cut":
                request.close_connection = True
                return
            case "taken and cut":
                self._take(service, request, body)
                request.close_connection = True
                return
            case "garbage":
                _reply(request, 200, b"<html>welcome</html>")
                return
            case ("retry", seconds):
                _reply(request, 429, b"slow down", {"Retry-After": str(seconds)})
                return
            case "busy":
                _reply(request, 200, json.dumps(BUSY[service]).encode())
                return
            case int():
                _reply(request, fault, b"oops")
                return
        answer = self._take(service, request, body)
        plain = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        _reply(request, 200, plain)

    def _take(self, service, request, body):
        said = json.loads(body)
        answer = getattr(self, f"_{service}")(request, said, body)
        if answer in GOOD or (isinstance(answer, dict) and answer.get("ok")):
            self.received.append((service, said))
        return answer

    def _feishu(self, request, said, body):
        if abs(time.time() - int(said.get("timestamp", 0))) > 3600:
            return {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}
        key = f"{said['timestamp']}\n{FEISHU_SECRET}".encode()
        if base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode() != said["sign"]:
            return {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}
        if len(body) > 20 * 1024 or said["msg_type"] != "interactive":
            return {"code": 19002, "msg": "params error"}
        return {
            "StatusCode": 0,
            "StatusMessage": "success",
            "code": 0,
            "data": {},
            "msg": "success",
        }

    def _dingtalk(self, request, said, body):
        query = parse_qs(urlsplit(request.path).query)
        stamp = query.get("timestamp", ["0"])[0]
        text = f"{stamp}\n{DING_SECRET}".encode()
        sign = base64.b64encode(hmac.new(DING_SECRET.encode(), text, hashlib.sha256).digest())
        if query.get("access_token") != ["ding-token-0123"]:
            return {"errcode": 300001, "errmsg": "token is not exist"}
        if abs(time.time() - int(stamp) / 1000) > 3600 or query["sign"] != [sign.decode()]:
            return {"errcode": 310000, "errmsg": "sign not match"}
        if len(body) > 20_000 or said["msgtype"] != "markdown":
            return {"errcode": 40035, "errmsg": "wrong parameters"}
        return {"errcode": 0, "errmsg": "ok"}

    def _wecom(self, request, said, body):
        if parse_qs(urlsplit(request.path).query).get("key") != ["wecom-key-0123"]:
            return {"errcode": 93000, "errmsg": "invalid webhook url"}
        if len(said["text"]["content"].encode()) > 2048:
            return {"errcode": 45002, "errmsg": "content size out of limit"}
        return {"errcode": 0, "errmsg": "ok"}

    def _slack(self, request, said, body):
        return b"ok" if said["text"] and said["attachments"] else b"invalid_payload"

    def _api(self, request, said, body):
        method = unquote(request.path.rpartition("/")[2])
        if request.headers["Authorization"] != f"Bearer {SLACK_TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if method == "chat.update":
            self.posts[said["ts"]] = said
            return {"ok": True, "channel": "C1", "ts": said["ts"]}
        stamp = f"{1000 + len(self.posts)}.0001"
        self.posts[stamp] = said
        return {"ok": True, "channel": "C1", "ts": stamp}

    def _webhook(self, request, said, body):
        stamp = request.headers["X-Steadytrain-Timestamp"]
        text = f"{stamp}.".encode() + body
        right = f"sha256={hmac.new(HOOK_SECRET.encode(), text, hashlib.sha256).hexdigest()}"
        if request.headers["X-Steadytrain-Signature"] != right:
            return {"error": "bad signature"}
        assert request.headers["Idempotency-Key"] == said["key"]
        return {"taken": True}


BUSY = {
    "feishu": {"code": 9499, "msg": "too many request"},
    "dingtalk": {"errcode": 130101, "errmsg": "send too fast"},
    "wecom": {"errcode": 45009, "errmsg": "api freq out of limit"},
    "api": {"ok": False, "error": "ratelimited"},
}
GOOD = (
    {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"},
    {"errcode": 0, "errmsg": "ok"},
    {"taken": True},
    b"ok",
)


def _reply(request, status, body, headers=None):
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


class MailServer:
    """SMTP with STARTTLS and one account; `faults` are answers to give instead of taking a letter."""

    def __init__(self, context=None):
        self.letters = []
        self.faults = []
        server = self

        class Handler:
            async def handle_DATA(self, _, session, envelope):
                if server.faults:
                    return server.faults.pop(0)
                server.letters.append(envelope.content.decode())
                return "250 taken"

        def login(_, session, envelope, mechanism, data):
            good = (data.login, data.password) == (b"ada", b"mail-password-0123")
            return AuthResult(success=good, handled=good)

        class Ours(Controller):
            def factory(self):
                return SMTP(
                    self.handler,
                    tls_context=context,
                    require_starttls=context is not None,
                    authenticator=login,
                    auth_required=context is not None,
                    auth_require_tls=True,
                )

        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]  # it cannot choose one itself
        self.controller = Ours(Handler(), hostname="127.0.0.1", port=self.port)
        self.controller.start()

    def close(self):
        self.controller.stop()
