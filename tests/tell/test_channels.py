"""What every channel must do, against a local server that speaks its service's rules."""

import dataclasses
import email
import email.policy
import json
import ssl
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadytrain.tell.channels import apprise
from steadytrain.tell.channels.dingtalk import DingTalk
from steadytrain.tell.channels.feishu import Feishu
from steadytrain.tell.channels.mail import Mail
from steadytrain.tell.channels.slack import Slack, SlackHook
from steadytrain.tell.channels.web import Reply, Web
from steadytrain.tell.channels.webhook import Webhook
from steadytrain.tell.channels.wecom import WeCom
from steadytrain.tell.message import Arrived, Refused, TryAgain
from tests.tell import services as svc
from tests.tell.makers import message

QUICK = Web(timeout=0.5)
WEB_CHANNELS = ("feishu", "dingtalk", "wecom", "slack", "slack-token", "webhook")
SIGNED = ("feishu", "dingtalk", "wecom", "slack-token", "webhook")
HOSTILE = (
    '<!channel> <at id=all></at> <at user_id="all">all</at> @all [x](http://evil.example)\n'
    "# <script>alert(1)</script> \x1b[2J \u202egnp.exe \x00 end"
)


def make(kind, url, *, wrong=False):
    bad = "-wrong" if wrong else ""
    match kind:
        case "feishu":
            secret = svc.FEISHU_SECRET + bad
            return Feishu(name=kind, url=f"{url}/feishu/hook-id-0123", secret=secret, web=QUICK)
        case "dingtalk":
            address = f"{url}/dingtalk/send?access_token=ding-token-0123"
            return DingTalk(name=kind, url=address, secret=svc.DING_SECRET + bad, web=QUICK)
        case "wecom":
            return WeCom(name=kind, url=f"{url}/wecom/send?key=wecom-key-0123{bad}", web=QUICK)
        case "slack":
            return SlackHook(name=kind, url=f"{url}/slack/T0/B0/hook-0123", web=QUICK)
        case "slack-token":
            token = svc.SLACK_TOKEN + bad
            return Slack(name=kind, token=token, room="#train", web=QUICK, api=f"{url}/api")
    secret = svc.HOOK_SECRET + bad
    return Webhook(name=kind, url=f"{url}/webhook/hook-0123", secret=secret, web=QUICK)


def sent_text(services):
    return json.dumps([said for _, said in services.received], ensure_ascii=False)


@pytest.mark.parametrize("kind", WEB_CHANNELS)
class TestEveryWebChannel:
    def test_a_message_arrives_with_its_headline_news_and_link(self, kind, services):
        assert isinstance(make(kind, services.url).send(message()), Arrived)
        text = sent_text(services).replace("\\\\", "")
        assert "[warning] r1: incident-1: loss:zh rise" in text
        assert "incident-1 opened" in text
        assert "http://board.example/" in text

    def test_a_broken_service_is_tried_again_and_works_later(self, kind, services):
        services.faults = [500, 503]
        channel = make(kind, services.url)
        assert isinstance(channel.send(message()), TryAgain)
        assert isinstance(channel.send(message()), TryAgain)
        assert isinstance(channel.send(message()), Arrived)

    def test_a_time_to_wait_is_passed_on(self, kind, services):
        services.faults = [("retry", 37)]
        assert make(kind, services.url).send(message()).after_seconds == 37

    def test_a_redirect_is_refused_and_nothing_goes_there(self, kind, services):
        services.faults = ["redirect"]
        answer = make(kind, services.url).send(message())
        assert isinstance(answer, Refused)
        assert "redirect" in answer.why
        assert not services.elsewhere
        assert len(services.asked) == 1

    def test_a_service_that_does_not_answer_is_given_up_in_time(self, kind, services):
        services.faults = ["slow"]
        began = time.monotonic()
        answer = make(kind, services.url).send(message())
        assert isinstance(answer, TryAgain)
        assert answer.may_have_arrived
        assert time.monotonic() - began < 1.4

    def test_a_connection_that_breaks_off_may_have_taken_it(self, kind, services):
        services.faults = ["taken and cut"]
        answer = make(kind, services.url).send(message())
        assert isinstance(answer, TryAgain)
        assert answer.may_have_arrived
        assert len(services.received) == 1

    def test_nobody_at_the_port_is_tried_again(self, kind, services):
        services.close()
        answer = make(kind, services.url).send(message())
        assert isinstance(answer, TryAgain)
        assert not answer.may_have_arrived

    def test_a_wrong_address_is_refused(self, kind, services):
        services.faults = [404]
        assert isinstance(make(kind, services.url).send(message()), Refused)

    def test_text_of_a_journal_mentions_nobody_and_hides_nothing(self, kind, services):
        hostile = message(title="<!everyone> x", text=HOSTILE)
        assert isinstance(make(kind, services.url).send(hostile), Arrived)
        ((service, said),) = services.received
        if service == "dingtalk":
            assert "@all" not in said["markdown"]["text"]
            assert "<at" not in said["markdown"]["text"]
            assert "[x](" not in said["markdown"]["text"]
        if service in ("slack", "api"):
            assert "<!" not in said["text"]
            blocks = said["attachments"][0]["blocks"]
            assert all(one["text"]["type"] == "plain_text" for one in blocks if "text" in one)
        if service == "feishu":
            tags = [one["text"]["tag"] for one in said["card"]["elements"] if "text" in one]
            assert set(tags) == {"plain_text"}

    def test_a_long_message_is_cut_to_what_the_service_takes(self, kind, services):
        for text in ("\u4e2d" * 20_000, "\\*[" * 9_000, '"\n' * 7_000):
            # The box cuts to 15,000 bytes, a channel to its own limit.
            cut = text.encode()[:15_000].decode(errors="ignore")
            assert isinstance(make(kind, services.url).send(message(text=cut)), Arrived)

    def test_an_answer_of_something_else_is_refused_in_words(self, kind, services):
        if kind == "webhook":
            return  # any good status will do there
        services.faults = ["garbage"]
        answer = make(kind, services.url).send(message())
        assert isinstance(answer, Refused)
        assert "welcome" in answer.why


@pytest.mark.parametrize("kind", SIGNED)
def test_a_wrong_secret_is_refused_and_not_shown(kind, services):
    if kind == "webhook":
        services.always = 401  # as a receiver answers that checks
    answer = make(kind, services.url, wrong=True).send(message())
    assert isinstance(answer, Refused)
    assert "0123" not in answer.why
    assert not services.received


@pytest.mark.parametrize("kind", ["feishu", "dingtalk", "wecom", "slack-token"])
def test_a_busy_service_is_tried_again(kind, services):
    services.faults = ["busy"]
    answer = make(kind, services.url).send(message())
    assert isinstance(answer, TryAgain)
    assert answer.after_seconds >= 30


def test_feishus_clock_must_be_right(services):
    channel = make("feishu", services.url)
    late = Feishu(
        name="f",
        url=channel.url,
        secret=channel.secret,
        web=QUICK,
        clock=lambda: time.time() - 4000,
    )
    assert "clock" in late.send(message()).why


def test_a_card_is_green_when_it_is_over(services):
    make("feishu", services.url).send(message(is_over=True, is_recovered=True, level="info"))
    ((_, said),) = services.received
    assert said["card"]["header"]["template"] == "green"
    assert said["card"]["header"]["title"]["content"].startswith("[recovered]")


def test_slack_edits_the_first_message_and_answers_below_it(services):
    channel = make("slack-token", services.url)
    first = channel.send(message())
    later = message(
        id="2", text="cured", story="opened\ncured", number=2, reference=first.reference,
        is_over=True, is_recovered=True,
    )  # fmt: skip
    assert channel.send(later) == Arrived(first.reference)
    shown = [one["attachments"][0]["blocks"][0]["text"]["text"] for one in services.posts.values()]
    assert shown == ["opened\ncured", "cured"]
    below = list(services.posts.values())[1]
    assert below["thread_ts"] == first.reference.rpartition("/")[2]


def test_a_webhook_says_when_it_may_come_twice(services):
    channel = make("webhook", services.url)
    channel.send(message())
    channel.send(message(is_again=True))
    (_, first), (_, second) = services.received
    assert first["key"] == second["key"]
    assert (first["again"], second["again"]) == (False, True)


class Says:
    """A web that always gives the same answer."""

    def __init__(self, reply):
        self.reply = reply

    def post(self, *_):
        return self.reply


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["code", "StatusCode", "errcode", "errmsg", "ok", "error", "ts", "reference"]
)


@pytest.mark.parametrize("kind", WEB_CHANNELS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.binary(max_size=60)
    | st.dictionaries(FIELDS, ANY_JSON).map(lambda x: json.dumps(x).encode())
)
def test_no_answer_is_so_strange_that_it_stops_the_telling(kind, body):
    channel = dataclasses.replace(make(kind, "http://127.0.0.1:1"), web=Says(Reply(200, body)))
    assert isinstance(channel.send(message()), Arrived | TryAgain | Refused)
    assert isinstance(channel.send(message(reference="C1/2")), Arrived | TryAgain | Refused)


def test_an_answer_of_many_brackets_is_refused(services):
    deep = b"[" * 60_000
    channel = dataclasses.replace(make("wecom", services.url), web=Says(Reply(200, deep)))
    assert isinstance(channel.send(message()), Refused)


def test_a_retry_after_may_be_a_date():
    web = Web(clock=lambda: 1_000_000_000.0)
    assert web._retry_after("Sun, 09 Sep 2001 01:47:10 GMT") == 30.0
    assert web._retry_after("soon") is None
    assert web._retry_after("-5") == 0.0
    assert web._retry_after("1e12") == 3600.0
    assert web._retry_after("nan") is None
    assert web._retry_after("Sun, 99 Sep 20010 01:47:10 GMT") is None


def test_the_proxy_of_the_environment_is_used(services, monkeypatch):
    monkeypatch.setenv("http_proxy", services.url)
    monkeypatch.delenv("no_proxy", raising=False)
    web = Web(timeout=0.5)
    web.post("http://feishu.internal.example/webhook/x", {})
    assert services.asked == ["http://feishu.internal.example/webhook/x"]


@pytest.fixture
def mail(mail_server, certificate):
    def make_mail(password="mail-password-0123", **changes):
        fields = {
            "name": "mail", "host": "localhost", "port": mail_server.port, "tls": "starttls",
            "user": "ada", "password": password, "sender": "train@example.org",
            "receivers": ("ada@example.org", "bo@example.org"), "timeout": 2.0,
            "context": ssl.create_default_context(cafile=certificate[0]),
        }  # fmt: skip
        return Mail(**(fields | changes))

    return make_mail


class TestMail:
    def test_a_letter_arrives_over_tls_with_a_login(self, mail, mail_server):
        assert isinstance(mail().send(message(title="\u635f\u5931\u4e0a\u5347")), Arrived)
        (letter,) = mail_server.letters
        read = email.message_from_string(letter, policy=email.policy.default)
        assert read["Subject"] == "[warning] r1: \u635f\u5931\u4e0a\u5347"
        assert read["Message-ID"] == "<key-1@example.org>"
        assert "incident-1 opened" in read.get_content()
        assert "http://board.example/" in read.get_content()

    def test_the_messages_of_a_thread_answer_each_other(self, mail, mail_server):
        first = mail().send(message())
        mail().send(message(id="2", key="key-2", reference=first.reference))
        read = email.message_from_string(mail_server.letters[1], policy=email.policy.default)
        assert read["In-Reply-To"] == "<key-1@example.org>"

    def test_sent_again_it_has_the_same_id(self, mail, mail_server):
        mail().send(message())
        mail().send(message(is_again=True))
        ids = [email.message_from_string(one)["Message-ID"] for one in mail_server.letters]
        assert ids == ["<key-1@example.org>"] * 2

    def test_a_wrong_password_is_refused_and_not_shown(self, mail, mail_server):
        answer = mail(password="mail-password-wrong").send(message())
        assert isinstance(answer, Refused)
        assert "wrong (535)" in answer.why
        assert "password-wrong" not in answer.why

    def test_a_server_for_now_busy_is_tried_again_a_no_is_no(self, mail, mail_server):
        mail_server.faults = ["451 later please", "554 never"]
        assert isinstance(mail().send(message()), TryAgain)
        assert isinstance(mail().send(message()), Refused)

    def test_an_unknown_certificate_is_not_trusted(self, mail, mail_server):
        answer = mail(context=ssl.create_default_context()).send(message())
        assert isinstance(answer, TryAgain)
        assert "SSL_CERT_FILE" in answer.why
        assert not mail_server.letters

    def test_no_server_is_tried_again(self, mail):
        assert isinstance(mail(port=1).send(message()), TryAgain)

    def test_a_title_cannot_add_a_header(self, mail):
        with pytest.raises(ValueError, match="Header"):
            mail().letter(message(title="x\nBcc: all@example.org"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # imghdr, on Python 3.11 and 3.12
class TestApprise:
    def test_a_message_arrives_by_it(self, services):
        pytest.importorskip("apprise")
        port = services.server.server_port
        services._notify = lambda request, said, body: {"taken": True}
        sender = apprise.load(f"json://127.0.0.1:{port}/notify", "X")
        answer = apprise.Apprise(name="apprise", sender=sender).send(message())
        assert isinstance(answer, Arrived)
        ((_, said),) = services.received
        assert said["title"] == "[warning] r1: incident-1: loss:zh rise"

    def test_a_broken_service_is_tried_again_without_a_word_of_its_address(self, services, capsys):
        pytest.importorskip("apprise")
        services.always = 500
        port = services.server.server_port
        sender = apprise.load(f"json://127.0.0.1:{port}/notify/secret-0123", "X")
        answer = apprise.Apprise(name="apprise", sender=sender).send(message())
        assert isinstance(answer, TryAgain)
        shown = capsys.readouterr()
        assert "0123" not in answer.why + shown.out + shown.err
