import ssl
import subprocess

import pytest

from tests.tell.makers import OPEN
from tests.tell.services import MailServer, Services


@pytest.fixture(autouse=True)
def closed_journals():
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def services():
    server = Services()
    yield server
    server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of our own for localhost: (certificate, key)."""
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl is not installed, and the mail tests make a certificate with it")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def mail_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = MailServer(context)
    yield server
    server.close()
